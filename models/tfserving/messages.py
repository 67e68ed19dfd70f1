"""TensorFlow Serving's API without TensorFlow: message classes, and tensors to and from numpy.

The official ``tensorflow-serving-api`` message classes need only the generated sub-packages ``tensorflow.core.*``.
While they are imported a bare parent package named ``tensorflow`` stands in for the real one, so its start-up
(7 s, 690 MB) never happens; afterwards the stand-in is removed, and a later ``import tensorflow`` gets the real one.
"""

import importlib.util
import sys
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import grpc
import numpy as np

from modelyard.models.errors import ModelyardError
from modelyard.models.types import Array


@contextmanager
def _without_runtime() -> Iterator[None]:
    """Puts a bare parent package in TensorFlow's place, unless TensorFlow is already loaded or not installed."""
    found = importlib.util.find_spec("tensorflow") if "tensorflow" not in sys.modules else None
    if found is None or found.origin is None:  # loaded already, or only the generated messages are installed
        yield
        return
    bare = types.ModuleType("tensorflow")
    bare.__path__ = list(found.submodule_search_locations or [])
    sys.modules["tensorflow"] = bare
    try:
        yield
    finally:
        del sys.modules["tensorflow"]


with _without_runtime():
    from tensorflow.core.example import example_pb2, feature_pb2
    from tensorflow.core.framework import tensor_pb2, types_pb2
    from tensorflow.core.protobuf import config_pb2, error_codes_pb2, meta_graph_pb2, rewriter_config_pb2
    from tensorflow_serving.apis import (
        classification_pb2,
        get_model_metadata_pb2,
        get_model_status_pb2,
        inference_pb2,
        input_pb2,
        model_management_pb2,
        model_service_pb2_grpc,
        predict_pb2,
        prediction_log_pb2,
        prediction_service_pb2_grpc,
        regression_pb2,
        status_pb2,
    )
    from tensorflow_serving.config import model_server_config_pb2

__all__ = [
    "BEING_LOADED",
    "CHANNEL_OPTIONS",
    "HTTP_STATUS",
    "TENSORS_AS_CONTENT",
    "ServingFailed",
    "VersionStatus",
    "classification_pb2",
    "config_pb2",
    "dtype_name",
    "error_codes_pb2",
    "example_pb2",
    "feature_pb2",
    "fill_proto",
    "find_enum",
    "from_proto",
    "get_model_metadata_pb2",
    "get_model_status_pb2",
    "inference_pb2",
    "input_pb2",
    "make_predict_request",
    "make_status_request",
    "make_tensor_header",
    "meta_graph_pb2",
    "model_management_pb2",
    "model_server_config_pb2",
    "model_service_pb2_grpc",
    "predict_pb2",
    "prediction_log_pb2",
    "prediction_service_pb2_grpc",
    "read_outputs",
    "read_statuses",
    "regression_pb2",
    "rewriter_config_pb2",
    "status_pb2",
    "tensor_pb2",
    "to_proto",
    "types_pb2",
]

MAX_MESSAGE_BYTES = 64 * 1024 * 1024

CHANNEL_OPTIONS = [
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.enable_http_proxy", 0),
    ("grpc.dns_min_time_between_resolutions_ms", 1000),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 2000),
]
"""Connects at the first call, and by itself again after a failure, at most 1 s apart (gRPC core's arguments). A name is
looked up again as often: a container that was started anew may have another address, and gRPC would wait for 30 s. What
is sent and not acknowledged for 2 s, as by a machine that is gone, ends the connection (TCP_USER_TIMEOUT; gRPC's A18).
"""

TENSORS_AS_CONTENT = ("modelyard-tensors-as-content", "true")
"""Metadata of a call whose client takes outputs as ``tensor_content``: it costs both sides less than lists of values.
Our model server heeds it. TensorFlow Serving ignores it; there it is a flag for all clients.
"""

HTTP_STATUS = {
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.UNKNOWN: 500,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DATA_LOSS: 500,
    grpc.StatusCode.UNAUTHENTICATED: 401,
}
"""As TensorFlow Serving maps them: tensorflow/serving ``model_servers/http_server.cc``."""

# --- tensors --------------------------------------------------------------------------------------------------------

_DTYPES: dict[int, tuple[str, str]] = {
    types_pb2.DT_FLOAT: ("float32", "float_val"),
    types_pb2.DT_HALF: ("float16", "half_val"),
    types_pb2.DT_DOUBLE: ("float64", "double_val"),
    types_pb2.DT_INT8: ("int8", "int_val"),
    types_pb2.DT_INT16: ("int16", "int_val"),
    types_pb2.DT_INT32: ("int32", "int_val"),
    types_pb2.DT_INT64: ("int64", "int64_val"),
    types_pb2.DT_UINT8: ("uint8", "int_val"),
    types_pb2.DT_UINT16: ("uint16", "int_val"),
    types_pb2.DT_UINT32: ("uint32", "uint32_val"),
    types_pb2.DT_UINT64: ("uint64", "uint64_val"),
    types_pb2.DT_BOOL: ("bool", "bool_val"),
    types_pb2.DT_STRING: ("string", "string_val"),
}
_ENUMS = {name: enum for enum, (name, _) in _DTYPES.items()}
FIRST_REFERENCE = 100
"""A type's number and this is the number of its reference type (``types.proto``)."""


def dtype_name(enum: int) -> str:
    """``float32`` for DT_FLOAT, ``string`` for DT_STRING; the enum's own name for unsupported types.

    A reference type, as TensorFlow 1 gives its variables, is called as what it refers to: values have no such type.
    """
    enum = enum - FIRST_REFERENCE if enum > FIRST_REFERENCE else enum
    return _DTYPES[enum][0] if enum in _DTYPES else str(types_pb2.DataType.Name(enum))


def to_proto(array: Array) -> tensor_pb2.TensorProto:
    """A tensor message from an array; an object array holds ``bytes`` and becomes DT_STRING."""
    proto = tensor_pb2.TensorProto()
    fill_proto(proto, array)
    return proto


def fill_proto(proto: tensor_pb2.TensorProto, array: Array) -> None:
    """``to_proto`` into an empty message that is part of another one."""
    proto.MergeFrom(make_tensor_header(array))
    if proto.dtype == types_pb2.DT_STRING:
        proto.string_val.extend(array.ravel().tolist())
    else:
        proto.tensor_content = array.tobytes()


def find_enum(array: Array) -> int:
    """``tensorflow.DataType`` of an array; an object array holds strings."""
    return _ENUMS["string" if array.dtype.kind in "OSU" else array.dtype.name]


def make_tensor_header(array: Array) -> tensor_pb2.TensorProto:
    """A tensor message with type and shape, and no content."""
    proto = tensor_pb2.TensorProto(dtype=find_enum(array))
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


def from_proto(proto: tensor_pb2.TensorProto) -> Array:
    """An array from a tensor message, in either of its two encodings; strings become an object array of ``bytes``.

    Raises:
        ValueError: the type is not supported, or the content does not fill the shape.
    """
    if proto.dtype not in _DTYPES:
        raise ValueError(f"tensors of type {dtype_name(proto.dtype)} are not supported")
    name, values_field = _DTYPES[proto.dtype]
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    if proto.tensor_content:
        return np.frombuffer(proto.tensor_content, dtype=name).reshape(shape)
    values = getattr(proto, values_field)
    if name == "float16":  # as bits, one per integer
        array = np.array(values, dtype=np.uint16).view(np.float16)
    else:
        array = np.array(values, dtype=object if name == "string" else name)
    size = int(np.prod(shape, dtype=np.int64))
    if 0 < len(array) < size:  # a shorter list means that its last value repeats (tensor.proto)
        array = np.concatenate([array, np.repeat(array[-1:], size - len(array))])
    return array.reshape(shape)


# --- messages -------------------------------------------------------------------------------------------------------


def make_predict_request(
    model: str, version: int | None, signature: str, inputs: Mapping[str, Array]
) -> predict_pb2.PredictRequest:
    """A request for one signature of one version; None stands for the newest one."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    if version is not None:
        request.model_spec.version.value = version
    request.model_spec.signature_name = signature
    for name, array in inputs.items():
        fill_proto(request.inputs[name], array)
    return request


def read_outputs(reply: predict_pb2.PredictResponse) -> dict[str, Array]:
    """One array per named output; raises ``ValueError`` as ``from_proto``.

    Outputs of types that have no array form here, such as complex64, are left out: the others can be used.
    """
    return {name: from_proto(proto) for name, proto in reply.outputs.items() if proto.dtype in _DTYPES}


@dataclass(frozen=True)
class VersionStatus:
    """State of a version in one model server: START, LOADING, AVAILABLE, UNLOADING or END."""

    version: int
    state: str
    error_code: str
    error_message: str


def make_status_request(model: str, version: int | None) -> get_model_status_pb2.GetModelStatusRequest:
    """A request for the state of one version, or of all that the server knows."""
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = model
    if version is not None:
        request.model_spec.version.value = version
    return request


def read_statuses(reply: get_model_status_pb2.GetModelStatusResponse) -> tuple[VersionStatus, ...]:
    """The versions of a reply, in the server's order."""
    states = get_model_status_pb2.ModelVersionStatus.State
    return tuple(
        VersionStatus(
            version=entry.version,
            state=states.Name(entry.state),
            error_code=error_codes_pb2.Code.Name(entry.status.error_code),
            error_message=entry.status.error_message,
        )
        for entry in reply.model_version_status
    )


# --- errors ---------------------------------------------------------------------------------------------------------


BEING_LOADED = "is being loaded; try again in a moment"
"""Ends the text of UNAVAILABLE where a server is there, and has yet to load what was asked for."""


class ServingFailed(ModelyardError):
    """The model server refused a call or is not reachable; has gRPC's code and, as ``status``, the HTTP status."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.status = HTTP_STATUS.get(code, 500)

    @property
    def is_loading(self) -> bool:
        """Whether our model server is there, and loads what was asked for."""
        return self.code is grpc.StatusCode.UNAVAILABLE and str(self).endswith(BEING_LOADED)
