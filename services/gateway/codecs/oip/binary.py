"""Tensors of the Open Inference Protocol V2 as raw bytes, and the protocol's names for types.

Format: kserve/open-inference-protocol ``inference_rest.md`` (names) and triton-inference-server/server
``docs/protocol/extension_binary_data.md`` (bytes): little-endian, row by row, no padding; BOOL is one byte, 0 or 1; an
element of BYTES is its length in four bytes, then itself.
"""

import math
import struct
from typing import Any

import numpy as np

from modelyard.models.registry.manifest import TensorSpec
from modelyard.models.types import Array
from modelyard.services.gateway.codecs.tensors import format_index, format_shape
from modelyard.services.gateway.http.errors import InvalidRequest

DATATYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
    "string": "BYTES",
}
"""The protocol's name by the spec's dtype."""
NAMES_ALONE = {"DT_BFLOAT16": "BF16"}
"""Types that the protocol has a name for, and numpy no arrays: they are in metadata, and not served."""
LENGTH = struct.Struct("<I")

Shape = tuple[int, ...]


def datatype(spec: TensorSpec) -> str:
    """The protocol's name for a tensor's type; TensorFlow's own where the protocol has none."""
    return DATATYPES.get(spec.dtype) or NAMES_ALONE.get(spec.dtype, spec.dtype)


def from_binary(spec: TensorSpec, shape: Shape, content: memoryview, *, finite: bool = True) -> Array:
    """The tensor that ``content`` holds. Numbers stay where they are: the array is a read-only view of the body.

    Args:
        spec: of a type in ``DATATYPES``.
        shape: the client's; checked against the spec before.
        finite: whether numbers that are not finite are refused here.

    Raises:
        InvalidRequest: more or fewer bytes than the shape takes, a BOOL that is neither 0 nor 1, a number not finite.
    """
    if spec.dtype == "string":
        return decode_strings(spec.name, shape, content)
    dtype = np.dtype(spec.dtype).newbyteorder("<")
    expected = math.prod(shape) * dtype.itemsize
    if len(content) != expected:
        raise InvalidRequest(
            f"{spec.name}: expected {expected} bytes for {datatype(spec)} {format_shape(shape)}, "
            f"received {len(content)}"
        )
    array = np.frombuffer(content, np.uint8 if spec.dtype == "bool" else dtype) if expected else np.empty(0, dtype)
    if finite:
        check_values(spec.name, shape, array, spec.dtype)
    return array.view(dtype).reshape(shape)


def check_values(name: str, shape: Shape, flat: Array, dtype: str) -> None:
    """Floats are finite, and bytes that stand for BOOL are 0 or 1.

    Raises:
        InvalidRequest: names the first that is not.
    """
    if dtype == "bool":
        odd, wanted = flat > 1, "a BOOL of 0 or 1"
    elif flat.dtype.kind == "f":
        odd, wanted = ~np.isfinite(flat), "a finite number"
    else:
        return
    if odd.any():
        first = int(odd.argmax())
        raise InvalidRequest(f"{name}{format_index(first, shape)}: expected {wanted}, received {flat[first]}")


def decode_strings(name: str, shape: Shape, content: memoryview) -> Array:
    """BYTES as an object array of ``bytes``; raises ``InvalidRequest`` where lengths and bytes disagree."""
    count, end = math.prod(shape), 0
    if count * LENGTH.size > len(content):  # before an array of that size is made
        raise InvalidRequest(
            f"{name}: expected at least {count * LENGTH.size} bytes for BYTES {format_shape(shape)}, "
            f"received {len(content)}"
        )
    array = np.empty(count, dtype=object)
    for index in range(count):
        start = end + LENGTH.size
        end = start + LENGTH.unpack_from(content, end)[0] if start <= len(content) else start
        if end > len(content):
            missing = f"{end - len(content)} bytes too few"
            raise InvalidRequest(
                f"{name}{format_index(index, shape)}: expected a length and as many bytes, received {missing}"
            )
        array[index] = bytes(content[start:end])
    if end != len(content):
        raise InvalidRequest(f"{name}: expected {end} bytes by its lengths, received {len(content)}")
    return array.reshape(shape)


def decode_single(spec: TensorSpec, body: bytes) -> Array:
    """A body that is one tensor and nothing else; its shape follows from its size. BYTES are one element, as it is.

    Raises:
        InvalidRequest: no shape of the spec's has that size, or several have.
    """
    if spec.dtype == "string":
        if any(size not in (None, 1) for size in spec.shape or ()):
            raise InvalidRequest(f"{spec.name}: expected {format_shape(spec.shape)}, received a body for one element")
        array = np.empty(1, dtype=object)
        array[0] = body
        return array.reshape((1,) * len(spec.shape or (1,)) if spec.shape != () else ())
    return from_binary(spec, deduce_shape(spec, len(body)), memoryview(body))


def deduce_shape(spec: TensorSpec, size: int) -> Shape:
    """The only shape of a spec that takes this many bytes."""
    open_sizes = (spec.shape or ()).count(None)
    if spec.shape is None or open_sizes > 1:
        raise InvalidRequest(
            f"{spec.name}: expected a JSON header with its shape, as {format_shape(spec.shape)} does not follow from "
            f"{size} bytes"
        )
    row = math.prod(known for known in spec.shape if known is not None) * np.dtype(spec.dtype).itemsize
    rows, rest = divmod(size, row) if row else (0, size)
    if rest or (not open_sizes and rows != 1):
        wanted = f"a multiple of {row}" if open_sizes else f"{row}"
        raise InvalidRequest(
            f"{spec.name}: expected {wanted} bytes for {datatype(spec)} {format_shape(spec.shape)}, received {size}"
        )
    return tuple(rows if known is None else known for known in spec.shape)


def to_binary(array: Array) -> Any:
    """A tensor's bytes, as anything that ``bytes.join`` takes: a view of the array itself where it holds numbers."""
    if array.dtype != object:
        return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1).view(np.uint8)
    chunks = [chunk for item in array.ravel() for chunk in (LENGTH.pack(len(item)), item)]
    return b"".join(chunks)
