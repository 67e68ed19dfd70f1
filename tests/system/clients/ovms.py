"""OpenVINO's ovmsclient, unmodified, REST and gRPC: what it gets from a running system, as JSON on standard output.

Runs in an environment of its own (``ovms.txt``): its own copy of TensorFlow's messages cannot live beside ours.
It always names a version; 0, its word for the default one, is TensorFlow Serving's for a version called 0.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import ovmsclient

MODEL, VERSION = "mnist_mlp", 1
PATIENCE_S = 60.0
"""For each call: ten seconds, its own, are not enough on a busy machine."""


def error_of(call: Callable[[], Any]) -> list[str]:
    """Class and message of an expected error."""
    try:
        call()
    except (ovmsclient.ModelServerError, ConnectionError, TimeoutError) as error:
        return [type(error).__name__, str(error)]
    return ["none", ""]


def outputs_of(client: Any, images: Any) -> dict[str, Any]:
    metadata = client.get_model_metadata(MODEL, VERSION, PATIENCE_S)
    return {
        "probabilities": client.predict({"images": images}, MODEL, VERSION, PATIENCE_S)["probabilities"].tolist(),
        "metadata": metadata,
        "status": client.get_model_status(MODEL, VERSION, PATIENCE_S),
        "errors": {
            "model": error_of(lambda: client.predict({"images": images}, "nothing_here", VERSION, PATIENCE_S)),
            "version": error_of(lambda: client.predict({"images": images}, MODEL, 99, PATIENCE_S)),
            "input": error_of(lambda: client.predict({"pixels": images}, MODEL, VERSION, PATIENCE_S)),
            "status": error_of(lambda: client.get_model_status("nothing_here", VERSION, PATIENCE_S)),
            "metadata": error_of(lambda: client.get_model_metadata("nothing_here", VERSION, PATIENCE_S)),
        },
    }


def main(http: str, grpc: str, images_file: str) -> None:
    images = np.load(images_file)
    found = {
        "REST": outputs_of(ovmsclient.make_http_client(http), images),
        "gRPC": outputs_of(ovmsclient.make_grpc_client(grpc), images),
    }
    json.dump(found, sys.stdout)


main(*sys.argv[1:])
