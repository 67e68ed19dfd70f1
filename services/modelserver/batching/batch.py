"""Joins calls into one run and splits its outputs. Pure functions.

Source of the rules: tensorflow/serving ``batching/batching_session.cc`` and ``batching/batching_util.cc``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from modelyard.models.types import Array
from modelyard.services.modelserver.runtime.tensor import ITEM_BYTES, STRING, Tensor, concatenate_tensors

Feeds = Mapping[str, Tensor]
"""Values by tensor name."""

_ITEM_TYPES = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64, 16: np.complex128}
"""Element types by size: padding copies elements without interpreting them."""


def count_rows(feeds: Feeds) -> int | None:
    """The number of rows that all inputs have; None if they differ, so that the call cannot be joined."""
    sizes = {tensor.shape[0] if tensor.shape else 0 for tensor in feeds.values()}
    return sizes.pop() or None if len(sizes) == 1 else None


def make_batch_key(feeds: Feeds, *, padded: bool) -> tuple[object, ...]:
    """Calls with equal keys can be joined: same types, and same inner dimensions, or ``padded`` as many of them."""
    return tuple((tensor.dtype, len(tensor.shape) if padded else tensor.shape[1:]) for tensor in feeds.values())


def merge_calls(calls: Sequence[Feeds], rows: int, *, padded: bool) -> Feeds:
    """The inputs of one run of ``rows`` rows; missing rows are copies of the last call's first row."""
    return {name: _merged([call[name] for call in calls], rows, padded=padded) for name in calls[0]}


def split_outputs(outputs: Sequence[Tensor], sizes: Sequence[int], rows: int) -> list[list[Tensor]] | None:
    """Each call's share of the outputs; None if an output does not have ``rows`` rows, so that it cannot be split."""
    if any(not output.shape or output.shape[0] != rows for output in outputs):
        return None
    shares, start = [], 0
    for size in sizes:
        shares.append([output.rows(start, start + size) for output in outputs])
        start += size
    return shares


def round_up_size(rows: int, allowed: Sequence[int]) -> int:
    """The smallest allowed batch size for so many rows; the rows themselves if there is none."""
    return next((size for size in allowed if size >= rows), rows)


def _merged(parts: Sequence[Tensor], rows: int, *, padded: bool) -> Tensor:
    if padded:
        largest = tuple(max(sizes) for sizes in zip(*(part.shape[1:] for part in parts), strict=True))
        parts = [_padded(part, largest) for part in parts]
    missing = rows - sum(part.shape[0] for part in parts)
    return concatenate_tensors([*parts, *[parts[-1].rows(0, 1)] * missing])


def _padded(tensor: Tensor, inner: tuple[int, ...]) -> Tensor:
    """Filled up at the end of each dimension with the tensor's first element."""
    if tensor.shape[1:] == inner or 0 in tensor.shape:
        return tensor
    array = _array(tensor)
    widths = [(0, want - size) for want, size in zip((tensor.shape[0], *inner), tensor.shape, strict=True)]
    filled = np.pad(array, widths, constant_values=array.flat[0])
    content = filled.ravel().tolist() if tensor.dtype == STRING else filled.tobytes()
    return replace(tensor, shape=filled.shape, content=content)


def _array(tensor: Tensor) -> Array:
    if tensor.dtype == STRING:
        strings = np.empty(len(tensor.strings), dtype=object)
        strings[:] = tensor.strings
        return strings.reshape(tensor.shape)
    return np.frombuffer(tensor.raw, _ITEM_TYPES[ITEM_BYTES[tensor.dtype]]).reshape(tensor.shape)
