"""A tensor as bytes in row-major order, as it passes between messages, batches and the TensorFlow runtime.

Rows are consecutive bytes, so batches are joined and split without knowing any type but DT_STRING.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from modelyard.models.tfserving.messages import types_pb2

STRING = types_pb2.DT_STRING

ITEM_BYTES: dict[int, int] = {
    types_pb2.DT_BOOL: 1,
    types_pb2.DT_INT8: 1,
    types_pb2.DT_UINT8: 1,
    types_pb2.DT_QINT8: 1,
    types_pb2.DT_QUINT8: 1,
    types_pb2.DT_INT16: 2,
    types_pb2.DT_UINT16: 2,
    types_pb2.DT_QINT16: 2,
    types_pb2.DT_QUINT16: 2,
    types_pb2.DT_HALF: 2,
    types_pb2.DT_BFLOAT16: 2,
    types_pb2.DT_FLOAT: 4,
    types_pb2.DT_INT32: 4,
    types_pb2.DT_UINT32: 4,
    types_pb2.DT_QINT32: 4,
    types_pb2.DT_DOUBLE: 8,
    types_pb2.DT_INT64: 8,
    types_pb2.DT_UINT64: 8,
    types_pb2.DT_COMPLEX64: 8,
    types_pb2.DT_COMPLEX128: 16,
}
"""Bytes of one element by ``tensorflow.DataType``. Other types than these and DT_STRING are not supported."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor."""

    dtype: int
    """``tensorflow.DataType``."""
    shape: tuple[int, ...]
    content: bytes | memoryview | Sequence[bytes]
    """Little-endian elements in row-major order; for DT_STRING one ``bytes`` for each element."""

    @property
    def strings(self) -> Sequence[bytes]:
        """The elements of a DT_STRING."""
        return cast("Sequence[bytes]", self.content)

    @property
    def raw(self) -> bytes | memoryview:
        """The elements of any other type."""
        return cast("bytes | memoryview", self.content)

    def rows(self, start: int, stop: int) -> "Tensor":
        """Rows ``start`` to ``stop`` of the first dimension, without a copy of their content."""
        row_items = math.prod(self.shape[1:])
        shape = (stop - start, *self.shape[1:])
        if self.dtype == STRING:
            return Tensor(STRING, shape, self.strings[start * row_items : stop * row_items])
        row_bytes = row_items * ITEM_BYTES[self.dtype]
        return Tensor(self.dtype, shape, memoryview(self.raw)[start * row_bytes : stop * row_bytes])


def concatenate_tensors(parts: Sequence[Tensor]) -> Tensor:
    """One tensor of the rows of all parts, which agree in type and in every dimension but the first."""
    first = parts[0]
    shape = (sum(part.shape[0] for part in parts), *first.shape[1:])
    if first.dtype == STRING:
        return Tensor(STRING, shape, [item for part in parts for item in part.strings])
    return Tensor(first.dtype, shape, b"".join(part.raw for part in parts))
