"""tensorflow-serving-api as its examples use it, with all of TensorFlow: what it gets from a running model server.

Runs in the project's environment, in a process of its own, which the tests fork from one that has TensorFlow.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

MODEL = "mnist_mlp"
TIMEOUT_S = 30


def predict_request(images: Any, model: str = MODEL, version: int | None = None, **said: Any) -> Any:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = said.get("signature", "serving_default")
    if version is not None:
        request.model_spec.version.value = version
    request.inputs[said.get("name", "images")].CopyFrom(tf.make_tensor_proto(images))
    request.output_filter.extend(said.get("outputs", ()))
    return request


def error_of(call: Callable[..., Any], request: Any) -> list[str]:
    """Code and message of an expected error."""
    try:
        call(request, timeout=TIMEOUT_S)
    except grpc.RpcError as error:
        return [error.code().name, error.details()]
    return ["OK", ""]


def metadata_request(model: str) -> Any:
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = model
    return request


def signatures(reply: Any) -> dict[str, Any]:
    found = get_model_metadata_pb2.SignatureDefMap()
    reply.metadata["signature_def"].Unpack(found)
    return {
        name: sorted(signature.inputs) for name, signature in found.signature_def.items() if not name.startswith("__")
    }


def main(address: str, images_file: str, png_file: str) -> None:
    images = np.load(images_file)
    with open(png_file, "rb") as file:  # noqa: PTH123  # nothing to gain
        png = file.read()
    channel = grpc.insecure_channel(address)
    predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
    metadata = prediction_service_pb2_grpc.PredictionServiceStub(channel).GetModelMetadata
    status = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus
    asked = get_model_status_pb2.GetModelStatusRequest()
    asked.model_spec.name = MODEL
    unknown = get_model_status_pb2.GetModelStatusRequest()
    unknown.model_spec.name = "nothing_here"

    plain = predict(predict_request(images), timeout=TIMEOUT_S).outputs["probabilities"]

    def probabilities(request: Any) -> Any:
        return tf.make_ndarray(predict(request, timeout=TIMEOUT_S).outputs["probabilities"]).tolist()

    found = {
        "predictions": {
            "latest": probabilities(predict_request(images)),
            "version": probabilities(predict_request(images, version=1)),
            "one output": probabilities(predict_request(images, outputs=["probabilities"])),
            "one PNG": probabilities(predict_request([png], signature="image_bytes", name="image_bytes")),
        },
        "values": [len(plain.float_val), len(plain.tensor_content)],
        "filtered": sorted(predict(predict_request(images, outputs=["class_id"]), timeout=TIMEOUT_S).outputs),
        "metadata": signatures(metadata(metadata_request(MODEL), timeout=TIMEOUT_S)),
        "status": [[entry.version, entry.state] for entry in status(asked, timeout=TIMEOUT_S).model_version_status],
        "errors": {
            "model": error_of(predict, predict_request(images, model="nothing_here")),
            "version": error_of(predict, predict_request(images, version=99)),
            "signature": error_of(predict, predict_request(images, signature="nothing")),
            "input": error_of(predict, predict_request(images, name="pixels")),
            "output": error_of(predict, predict_request(images, outputs=["logits"])),
            "metadata": error_of(metadata, metadata_request("nothing_here")),
            "status": error_of(status, unknown),
        },
    }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
