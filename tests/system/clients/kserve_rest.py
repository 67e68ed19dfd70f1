"""KServe's InferenceRESTClient, unmodified: what it gets from a running gateway, as JSON on standard output.

Runs in an environment of its own (``kserve_rest.txt``): it wants an older protobuf than the project has.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable
from typing import Any

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

MODEL = "mnist_mlp"


def request(images: Any, *, binary: bool, **said: Any) -> InferRequest:
    given = InferInput("images", list(images.shape), said.pop("datatype", "FP32"))
    given.set_data_from_numpy(images, binary_data=binary)
    return InferRequest(model_name=MODEL, infer_inputs=[given], **said)


def probabilities(found: Any) -> Any:
    (output,) = [output for output in found.outputs if output.name == "probabilities"]
    return output.as_numpy().tolist()


async def error_of(call: Awaitable[Any]) -> list[Any]:
    """Status and message of an expected error."""
    try:
        await call
    except httpx.HTTPStatusError as error:
        return [error.response.status_code, str(error)]
    return [0, ""]


async def run(url: str, images: Any) -> dict[str, Any]:
    client = InferenceRESTClient(RESTConfig(protocol="v2"))

    async def infer(**said: Any) -> Any:
        return probabilities(await client.infer(url, request(images, **said), model_name=MODEL))

    raw = {"inputs": [{"name": "images", "shape": list(images.shape), "datatype": "FP32", "data": images.tolist()}]}
    found = {
        "predictions": {
            "binary": await infer(binary=True),
            "JSON": await infer(binary=False),
            "binary out": await infer(binary=False, parameters={"binary_data_output": True}),
            "one output": await infer(
                binary=True, request_outputs=[RequestedOutput("probabilities", {"binary_data": True})]
            ),
            "a plain dict": probabilities(await client.infer(url, raw, model_name=MODEL)),
        },
        "live": await client.is_server_live(url),
        "ready": await client.is_server_ready(url),
        "model ready": await client.is_model_ready(url, MODEL),
        "unknown ready": await client.is_model_ready(url, "nothing_here"),
        "errors": {
            "model": await error_of(client.infer(url, request(images, binary=True), model_name="nothing_here")),
            "shape": await error_of(client.infer(url, request(images[:, :, :, 0], binary=True), model_name=MODEL)),
            "datatype": await error_of(
                client.infer(url, request(images.astype(np.int64), binary=False, datatype="INT64"), model_name=MODEL)
            ),
        },
    }
    await client.close()
    return found


json.dump(asyncio.run(run(sys.argv[1], np.load(sys.argv[2]))), sys.stdout)
