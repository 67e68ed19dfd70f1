"""NVIDIA's tritonclient, unmodified, sync and asyncio: what it gets from a running gateway, as JSON on standard output.

Runs in an environment of its own (``triton.txt``): its gevent wants an older greenlet than the gateway has.
"""

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from tritonclient import http
from tritonclient.http import aio
from tritonclient.utils import InferenceServerException

MODEL = "mnist_mlp"


def image_input(images: Any, *, binary: bool = True) -> list[Any]:
    given = http.InferInput("images", list(images.shape), "FP32")
    given.set_data_from_numpy(images, binary_data=binary)
    return [given]


def bytes_input(content: bytes) -> list[Any]:
    given = http.InferInput("image_bytes", [1], "BYTES")
    given.set_data_from_numpy(np.array([content], dtype=np.object_))
    return [given]


def wanted(*, binary: bool) -> list[Any]:
    return [http.InferRequestedOutput("probabilities", binary_data=binary)]


def probabilities(found: Any) -> Any:
    return found.as_numpy("probabilities").tolist()


def error_of(call: Callable[[], Any]) -> list[str]:
    """Status and message of an expected error."""
    try:
        call()
    except InferenceServerException as error:
        return [str(error.status()), str(error.message())]
    return ["none", ""]


def predictions(client: Any, images: Any, png: bytes) -> dict[str, Any]:
    both = {"outputs": wanted(binary=False)}
    image = image_input(images)
    return {
        "binary": probabilities(client.infer(MODEL, image)),
        "binary in, JSON out": probabilities(client.infer(MODEL, image, **both)),
        "JSON in, binary out": probabilities(client.infer(MODEL, image_input(images, binary=False))),
        "JSON": probabilities(client.infer(MODEL, image_input(images, binary=False), **both)),
        "gzip": probabilities(client.infer(MODEL, image, request_compression_algorithm="gzip")),
        "deflate": probabilities(client.infer(MODEL, image, request_compression_algorithm="deflate")),
        "compressed answer": probabilities(client.infer(MODEL, image, response_compression_algorithm="gzip")),
        "version": probabilities(client.infer(MODEL, image, model_version="1")),
        "label": probabilities(client.infer(MODEL, image, model_version="stable")),
        "timeout": probabilities(client.infer(MODEL, image, timeout=10_000_000)),
        "in the background": probabilities(client.async_infer(MODEL, image).get_result()),
        "one PNG": probabilities(client.infer(MODEL, bytes_input(png), parameters={"signature_name": "image_bytes"})),
    }


def errors(client: Any, images: Any) -> dict[str, list[str]]:
    image = image_input(images)
    named = [http.InferInput("pixels", [1], "FP32").set_data_from_numpy(np.zeros(1, np.float32))]
    shaped = image_input(images[:, :, :, 0])
    return {
        "model": error_of(lambda: client.infer("nothing_here", image)),
        "version": error_of(lambda: client.infer(MODEL, image, model_version="99")),
        "label": error_of(lambda: client.infer(MODEL, image, model_version="canary")),
        "input": error_of(lambda: client.infer(MODEL, named)),
        "shape": error_of(lambda: client.infer(MODEL, shaped)),
        "output": error_of(lambda: client.infer(MODEL, image, outputs=[http.InferRequestedOutput("logits")])),
        "metadata": error_of(lambda: client.get_model_metadata("nothing_here")),
        "load": error_of(lambda: client.load_model(MODEL)),
        "unload": error_of(lambda: client.unload_model(MODEL)),
        "sequence": error_of(lambda: client.infer(MODEL, image, sequence_id=1)),
    }


def status(client: Any) -> dict[str, Any]:
    return {
        "server": client.get_server_metadata(),
        "model": client.get_model_metadata(MODEL),
        "version": client.get_model_metadata(MODEL, model_version="1"),
        "index": client.get_model_repository_index(),
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model ready": client.is_model_ready(MODEL),
        "version ready": client.is_model_ready(MODEL, model_version="1"),
        "unknown ready": client.is_model_ready("nothing_here"),
    }


async def with_asyncio(address: str, images: Any) -> dict[str, Any]:
    async with aio.InferenceServerClient(address) as client:
        return {
            "binary": probabilities(await client.infer(MODEL, image_input(images))),
            "JSON": probabilities(
                await client.infer(MODEL, image_input(images, binary=False), outputs=wanted(binary=False))
            ),
            "gzip": probabilities(await client.infer(MODEL, image_input(images), request_compression_algorithm="gzip")),
            "ready": await client.is_model_ready(MODEL),
            "metadata": await client.get_model_metadata(MODEL),
        }


def main(address: str, images_file: str, png_file: str) -> None:
    images = np.load(images_file)
    with open(png_file, "rb") as file:  # noqa: PTH123  # nothing to gain
        png = file.read()
    client = http.InferenceServerClient(address)
    found = {
        "predictions": predictions(client, images, png),
        "errors": errors(client, images),
        "status": status(client),
        "asyncio": asyncio.run(with_asyncio(address, images)),
    }
    client.close()
    json.dump(found, sys.stdout)


main(*sys.argv[1:])
