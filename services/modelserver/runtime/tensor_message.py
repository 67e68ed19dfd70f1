"""``TensorProto`` to ``Tensor`` and back, to the letter of TensorFlow's ``tensor.proto`` and ``tensor.cc``."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from modelyard.models.tfserving.messages import tensor_pb2, types_pb2
from modelyard.services.modelserver.runtime.tensor import ITEM_BYTES, STRING, Tensor

MAX_DIMENSIONS = 254
"""TensorFlow aborts the process at more."""
MAX_TENSOR_ELEMENTS = 2**28
"""A short message can describe a huge tensor (its last value repeats), so the size is checked before it is built."""

PACKED: dict[int, tuple[str, int]] = {
    types_pb2.DT_FLOAT: ("float_val", 5),
    types_pb2.DT_DOUBLE: ("double_val", 6),
    types_pb2.DT_BOOL: ("bool_val", 11),
    types_pb2.DT_COMPLEX64: ("scomplex_val", 9),
    types_pb2.DT_COMPLEX128: ("dcomplex_val", 12),
}
"""Name and number of the fields whose packed encoding is the tensor's own: bytes are copied, not values."""

NUMBERS: dict[int, tuple[str, str]] = {
    types_pb2.DT_INT8: ("int_val", "int8"),
    types_pb2.DT_UINT8: ("int_val", "uint8"),
    types_pb2.DT_INT16: ("int_val", "int16"),
    types_pb2.DT_UINT16: ("int_val", "uint16"),
    types_pb2.DT_INT32: ("int_val", "int32"),
    types_pb2.DT_QINT8: ("int_val", "int8"),
    types_pb2.DT_QUINT8: ("int_val", "uint8"),
    types_pb2.DT_QINT16: ("int_val", "int16"),
    types_pb2.DT_QUINT16: ("int_val", "uint16"),
    types_pb2.DT_QINT32: ("int_val", "int32"),
    types_pb2.DT_HALF: ("half_val", "uint16"),
    types_pb2.DT_BFLOAT16: ("half_val", "uint16"),
    types_pb2.DT_INT64: ("int64_val", "int64"),
    types_pb2.DT_UINT32: ("uint32_val", "uint32"),
    types_pb2.DT_UINT64: ("uint64_val", "uint64"),
}
"""Field, and type of its values, of the other types; half precision travels as its bits."""


def read_tensor(proto: tensor_pb2.TensorProto) -> Tensor | None:
    """The tensor that a message describes; None if its type, shape or number of bytes is invalid."""
    dtype = proto.dtype
    shape = tuple([size.size for size in proto.tensor_shape.dim])
    if proto.tensor_shape.unknown_rank or len(shape) > MAX_DIMENSIONS or (shape and min(shape) < 0):
        return None
    count = math.prod(shape)
    if count > MAX_TENSOR_ELEMENTS or (dtype != STRING and dtype not in ITEM_BYTES):
        return None
    if dtype == STRING:
        return Tensor(STRING, shape, _filled(list(proto.string_val), count, b""))
    content = proto.tensor_content or _from_values(proto, dtype, count)
    return Tensor(dtype, shape, content) if len(content) == count * ITEM_BYTES[dtype] else None


def write_tensor(tensor: Tensor, proto: tensor_pb2.TensorProto, *, as_content: bool) -> None:
    """Fills an empty message: values in the field of their type, or, ``as_content``, as one run of bytes."""
    if as_content and tensor.dtype != STRING:
        proto.tensor_content = bytes(tensor.raw)
    elif tensor.dtype in PACKED:
        proto.MergeFromString(_packed(PACKED[tensor.dtype][1], tensor.raw))
    elif tensor.dtype == STRING:
        proto.string_val.extend(tensor.strings)
    else:
        field, kind = NUMBERS[tensor.dtype]
        getattr(proto, field).extend(np.frombuffer(tensor.raw, kind).tolist())
    proto.dtype = tensor.dtype
    proto.tensor_shape.SetInParent()  # a scalar's is empty, but there
    add = proto.tensor_shape.dim.add
    for size in tensor.shape:
        add(size=size)


def _from_values(proto: tensor_pb2.TensorProto, dtype: int, count: int) -> bytes:
    """The bytes of ``count`` elements: missing ones repeat the last value, or are 0 if there is none."""
    if dtype in PACKED:
        content = _unpacked(proto, *PACKED[dtype])
        item = ITEM_BYTES[dtype]
        missing = count - len(content) // item
        return content[: count * item] + (content[-item:] or bytes(item)) * missing if missing else content
    field, kind = NUMBERS[dtype]
    values = np.array(getattr(proto, field), dtype=np.int64 if kind != "uint64" else np.uint64)
    return np.asarray(_filled(values.tolist(), count, 0), dtype=values.dtype).astype(kind).tobytes()


def _filled(values: list[Any], count: int, default: Any) -> list[Any]:
    """Exactly ``count`` values; the last one repeats (tensor.proto)."""
    if len(values) < count:
        values.extend((values[-1:] or [default]) * (count - len(values)))
    return values[:count]


def _unpacked(proto: tensor_pb2.TensorProto, field: str, number: int) -> bytes:
    """The bytes of a packed field: a message with this field alone, without its tag and length."""
    values: Sequence[Any] = getattr(proto, field)
    if not values:
        return b""
    alone = type(proto)()
    getattr(alone, field).MergeFrom(values)
    encoded: bytes = alone.SerializeToString()
    return encoded[_after_varint(encoded, 1) :] if encoded[0] == _tag(number) else b""


def _packed(number: int, content: bytes | memoryview) -> bytes:
    length, size = bytearray(), len(content)
    while size >> 7:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    length.append(size)
    return b"".join((bytes((_tag(number),)), length, content))


def _tag(number: int) -> int:
    """Wire type 2; all these numbers fit in one byte (protobuf encoding guide)."""
    return number << 3 | 2


def _after_varint(encoded: bytes, start: int) -> int:
    while encoded[start] & 0x80:
        start += 1
    return start + 1
