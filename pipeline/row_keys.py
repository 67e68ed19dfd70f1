"""Keys of rows: equal for equal inputs, to find those that are in two parts of a dataset."""

from collections.abc import Iterator, Mapping

import numpy as np

from modelyard.models.data import Inputs, list_arrays
from modelyard.models.types import Array

CHUNK_BYTES = 64 << 20


class RowKeys:
    """Makes keys ``int64 [N]`` of inputs; they can be compared within one object and process only."""

    def __init__(self) -> None:
        self._texts: dict[str, int] = {}

    def make(self, x: Inputs) -> Array:
        """One key a row, of one input or of all by name."""
        arrays = list_arrays(x)
        if not isinstance(x, Mapping) and arrays[0].dtype == object:
            return np.fromiter(map(hash, arrays[0]), np.int64, len(arrays[0]))
        columns = [self._to_bytes(array) for array in arrays]
        width = sum(column.shape[1] for column in columns)
        rows = max(1, CHUNK_BYTES // max(1, width))
        starts = range(0, len(arrays[0]), rows)
        keys = [np.fromiter(_hash_rows(columns, start, start + rows, width), np.int64) for start in starts]
        return np.concatenate([np.zeros(0, np.int64), *keys])

    def _to_bytes(self, array: Array) -> Array:
        """``uint8 [N,B]``; a text is numbered."""
        if array.dtype == object:
            index = self._texts
            numbers = np.fromiter((index.setdefault(text, len(index)) for text in array), np.int64, len(array))
            return numbers.view(np.uint8).reshape(len(array), -1)
        return np.ascontiguousarray(array).reshape(len(array), -1).view(np.uint8)


def _hash_rows(columns: list[Array], start: int, end: int, width: int) -> Iterator[int]:
    content = np.concatenate([column[start:end] for column in columns], axis=1).tobytes()
    return (hash(content[at : at + width]) for at in range(0, len(content), width))
