"""Predict on one loaded version, of messages or of arrays. Knows neither gRPC's server side nor TensorFlow.

Order of the checks, codes and messages: tensorflow/serving ``servables/tensorflow/predict_util.cc`` and tensorflow
``cc/saved_model/util.cc``. Shapes are not compared with the signature; the graph refuses what it cannot take.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import grpc

from modelyard.models.tfserving.messages import predict_pb2
from modelyard.services.modelserver.errors import Refused
from modelyard.services.modelserver.runtime.servable import (
    CLASSIFY,
    DEFAULT_SIGNATURE,
    PREDICT,
    REGRESS,
    CancelCheck,
    RequestOptions,
    Servable,
    Signature,
    TensorInfo,
)
from modelyard.services.modelserver.runtime.tensor import Tensor
from modelyard.services.modelserver.runtime.tensor_message import read_tensor, write_tensor

Read = Callable[[Any], Tensor | None]
"""The tensor of an input as it was sent; None if it describes none."""


def predict(
    servable: Servable, request: predict_pb2.PredictRequest, options: RequestOptions, check_cancelled: CancelCheck
) -> predict_pb2.PredictResponse:
    """Runs one signature; the caller fills in name and version.

    Raises:
        Refused: as ``run_signature``.
    """
    name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    found = run_signature(servable, name, request.inputs, read_tensor, request.output_filter, options, check_cancelled)
    response = predict_pb2.PredictResponse()
    response.model_spec.signature_name = name
    for alias, tensor in found.items():
        as_content = options.enable_serialization_as_tensor_content
        write_tensor(tensor, response.outputs[alias], as_content=as_content)
    return response


def run_signature(
    servable: Servable,
    name: str,
    sent: Mapping[str, Any],
    read: Read,
    wanted: Iterable[str],
    options: RequestOptions,
    check_cancelled: CancelCheck,
) -> dict[str, Tensor]:
    """The outputs of one signature by alias.

    Args:
        sent: inputs by alias, in any form that ``read`` makes tensors of.
        wanted: aliases of the outputs; all without any.

    Raises:
        Refused: FAILED_PRECONDITION for an unknown signature; INVALID_ARGUMENT for inputs and outputs that do not fit
            it; TensorFlow's own error of the run.
    """
    signature = servable.signatures.get(name)
    if signature is None:
        raise Refused(grpc.StatusCode.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
    if options.enable_signature_method_name_check:
        _check_method(signature)
    feeds = _feeds(signature, sent, read)
    outputs = _outputs(signature, wanted)
    fetches = tuple(sorted({info.name for info in outputs.values()}))
    answers = dict(zip(fetches, servable.run(feeds, fetches, check_cancelled), strict=True))
    return {alias: answers[info.name] for alias, info in outputs.items()}


def _check_method(signature: Signature) -> None:
    if signature.method_name not in (PREDICT, CLASSIFY, REGRESS):
        message = (
            f"Expected prediction signature method_name to be one of {{{PREDICT}, {CLASSIFY}, {REGRESS}}}. "
            f"Was: {signature.method_name}"
        )
        raise Refused(grpc.StatusCode.INTERNAL, message)


def _feeds(signature: Signature, sent: Mapping[str, Any], read: Read) -> dict[str, Tensor]:
    if len(sent) != len(signature.inputs) and (len(sent) > len(signature.inputs) or not signature.defaults):
        received, expected = set(sent), set(signature.inputs)
        raise _invalid(
            f"input size does not match signature: {len(received)}!={len(expected)} len({_set(received)}) != "
            f"len({_set(expected)}). Sent extra: {_set(received - expected)}. "
            f"Missing but required: {_set(expected - received)}."
        )
    feeds = {info.name: _value(signature, alias, info, sent, read) for alias, info in signature.inputs.items()}
    used = [alias for alias in signature.inputs if alias in sent]
    if len(used) != len(sent):
        message = f"Inputs contains invalid name. Used request inputs: {_list(used)}, request input: {_list(sent)}"
        raise _invalid(message)
    return feeds


def _value(signature: Signature, alias: str, info: TensorInfo, sent: Mapping[str, Any], read: Read) -> Tensor:
    if alias not in sent:
        if alias in signature.defaults:
            return signature.defaults[alias]
        raise _invalid(
            f"Signature input alias: {alias}(feed name: {info.name}) not found in request and no default value "
            f"provided. Inputs expected to be in the request {_set(sent)}, or default input alias set: "
            f"{_list(signature.defaults)}"
        )
    tensor = read(sent[alias])
    if tensor is None:
        raise _invalid(f"tensor parsing error: {alias}")
    return tensor


def _outputs(signature: Signature, wanted: Iterable[str]) -> Mapping[str, TensorInfo]:
    chosen: dict[str, TensorInfo] = {}
    for alias in wanted:
        if alias not in signature.outputs:
            raise _invalid(
                f"output tensor alias not found in signature: {alias} "
                f"Outputs expected to be in the set {_set(signature.outputs)}."
            )
        if alias in chosen:
            raise _invalid(f"duplicate output tensor alias: {alias}")
        chosen[alias] = signature.outputs[alias]
    return chosen or signature.outputs


def _set(names: Iterable[str]) -> str:
    return "{" + _list(names) + "}"


def _list(names: Iterable[str]) -> str:
    return ",".join(sorted(names))


def _invalid(message: str) -> Refused:
    return Refused(grpc.StatusCode.INVALID_ARGUMENT, message)
