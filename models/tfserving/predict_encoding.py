"""PredictRequest as bytes, with each tensor copied once. Slim.

The message classes copy a tensor's content three times on its way to the wire: into a bytes object, into the message,
into the serialised message. Here the few fields around the content are written by hand (protobuf's encoding:
https://protobuf.dev/programming-guides/encoding/), and everything is joined once.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from modelyard.models.tfserving.messages import fill_proto, make_tensor_header, predict_pb2, tensor_pb2
from modelyard.models.types import Array

_INPUTS = b"\x12"  # PredictRequest.inputs = 2, length-delimited
_KEY, _VALUE = b"\x0a", b"\x12"  # of a map's entry: 1 and 2
_TENSOR_CONTENT = b"\x22"  # TensorProto.tensor_content = 4
Chunk = bytes | memoryview


def encode_predict_request(model: str, version: int | None, signature: str, inputs: Mapping[str, Array]) -> bytes:
    """What ``predict_request(...).SerializeToString()`` means, if not its very bytes.

    Args:
        version: None stands for the newest one.
        inputs: one array per named input; strings as object arrays of ``bytes``.
    """
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    if version is not None:
        request.model_spec.version.value = version
    chunks: list[Chunk] = [request.SerializeToString()]
    for name, array in inputs.items():
        chunks += _entry(name.encode(), list(_tensor(array)))
    return b"".join(chunks)


def _tensor(array: Array) -> Iterator[Chunk]:
    if array.dtype.kind in "OSU":
        proto = tensor_pb2.TensorProto()
        fill_proto(proto, array)
        yield proto.SerializeToString()
        return
    yield make_tensor_header(array).SerializeToString()
    yield _TENSOR_CONTENT + _varint(array.nbytes)
    yield np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _entry(name: bytes, tensor: list[Chunk]) -> list[Chunk]:
    key = _KEY + _varint(len(name)) + name
    size = sum(len(chunk) for chunk in tensor)
    value = _VALUE + _varint(size)
    return [_INPUTS + _varint(len(key) + len(value) + size) + key + value, *tensor]


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; the top bit means that more follow."""
    encoded = bytearray()
    while number > 0x7F:  # noqa: PLR2004  # seven bits
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
