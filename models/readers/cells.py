"""Cells by kind: numbers, categories, texts, dates and lists, first as Arrow's arrays and then as numpy's."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modelyard.models.inputs import DATE_PATTERN, OneInput, canonical_category
from modelyard.models.readers.raw_table import MISSING, RawTable
from modelyard.models.types import Array

MISSING_CELL = pa.array(sorted(MISSING))
_DATE = re.compile(DATE_PATTERN)
_LARGEST = float(np.finfo(np.float32).max)


def normalise(table: RawTable, title: str, kind: OneInput) -> Any:
    """A column as its kind has it, null where a value is missing.

    Raises:
        InvalidData: a cell does not fit, with its row.
    """
    if kind.kind not in NORMALISERS:
        raise table.refuse(0, title, f"a column cannot be an input of kind {kind.kind!r}")
    return NORMALISERS[kind.kind](table, title, kind)


def to_numbers(table: RawTable, title: str, kind: OneInput | None = None) -> Any:
    """``float64``; texts are read as numbers."""
    del kind
    cells = table.columns[title]
    if pa.types.is_list(cells.type):
        raise table.refuse(0, title, "expected a number, received a list")
    if not pa.types.is_float64(cells.type):
        cells = _parse_numbers(table, title, blank_missing(cells))
    values = cells.to_numpy(zero_copy_only=False)
    if (wrong := np.flatnonzero(np.abs(values) > _LARGEST)).size:
        raise table.refuse(int(wrong[0]), title, f"{values[wrong[0]]} is no finite number of 32 bits")
    return pc.if_else(pc.fill_null(pc.is_nan(cells), True), None, cells)


def blank_missing(cells: Any) -> Any:
    """Texts without spaces around them; null where they stand for a missing value."""
    stripped = pc.utf8_trim_whitespace(cells)
    return pc.if_else(pc.is_in(pc.utf8_lower(stripped), value_set=MISSING_CELL), None, stripped)


def _parse_numbers(table: RawTable, title: str, cells: Any) -> Any:
    try:
        return pc.cast(cells, pa.float64())
    except pa.ArrowInvalid:
        index = next(index for index, cell in enumerate(cells) if not is_number(cell))
        raise table.refuse(index, title, f"expected a number, received {cells[index].as_py()!r}") from None


def is_number(cell: Any) -> bool:
    """Whether a text is read as a number, or missing."""
    try:
        pc.cast(cell, pa.float64())
    except pa.ArrowInvalid:
        return False
    return True


def to_texts(table: RawTable, title: str, kind: OneInput | None = None) -> Any:
    """``string``, as they are."""
    del kind
    cells = table.columns[title]
    if pa.types.is_list(cells.type):
        raise table.refuse(0, title, "expected a text, received a list")
    return format_numbers(cells) if pa.types.is_float64(cells.type) else cells


def format_numbers(cells: Any) -> Any:
    """Numbers as texts: whole ones without a point."""
    values = [None if value is None or value != value else value for value in cells.to_pylist()]  # noqa: PLR0124  # NaN
    return pa.array(
        [None if value is None else str(int(value)) if value.is_integer() else repr(value) for value in values],
        pa.string(),
    )


def to_categories(table: RawTable, title: str, kind: OneInput | None = None) -> Any:
    """``string`` as ``canonical_category`` writes it, whatever the file does; an empty one is missing."""
    encoded = pc.dictionary_encode(to_texts(table, title, kind))
    values = pa.array([canonical_category(value) for value in encoded.dictionary.to_pylist()], pa.string())
    cells = values.take(encoded.indices)
    return pc.if_else(pc.equal(cells, ""), None, cells)


def to_dates(table: RawTable, title: str, kind: OneInput | None = None) -> Any:
    """``string``: dates or times as ISO 8601."""
    cells = blank_missing(to_texts(table, title, kind))
    right = pc.fill_null(pc.match_substring_regex(cells, f"^({DATE_PATTERN})$"), True)
    if (wrong := np.flatnonzero(~right.to_numpy(zero_copy_only=False))).size:
        index = int(wrong[0])
        raise table.refuse(index, title, f"expected a date such as 2026-11-29, received {cells[index].as_py()!r}")
    return cells


def to_lists(table: RawTable, title: str, kind: OneInput) -> Any:
    """``list<double>``, all of one length and without gaps."""
    cells, size = table.columns[title], getattr(kind, "size", 0)
    if not pa.types.is_list(cells.type):
        raise table.refuse(0, title, f"expected a list of {size} numbers, received {cells[0].as_py()!r}")
    lengths = pc.fill_null(pc.list_value_length(cells), 0).to_numpy(zero_copy_only=False)
    if (wrong := np.flatnonzero(lengths != size)).size:
        raise table.refuse(int(wrong[0]), title, f"expected {size} numbers, received {lengths[wrong[0]]}")
    values = cells.flatten().to_numpy(zero_copy_only=False)
    if (wrong := np.flatnonzero(~(np.abs(values) <= _LARGEST))).size:
        raise table.refuse(int(wrong[0]) // size, title, f"{values[wrong[0]]} is no finite number of 32 bits")
    return cells


NORMALISERS: Mapping[str, Callable[[RawTable, str, OneInput], Any]] = {
    "number": to_numbers,
    "category": to_categories,
    "text": to_texts,
    "date": to_dates,
    "vector": to_lists,
}


def to_numpy(cells: Any) -> Array:
    """``float32 [N]`` with NaN, ``object [N]`` of ``str`` with empty ones, or ``float32 [N,D]``."""
    if pa.types.is_list(cells.type):
        vectors: Array = cells.flatten().to_numpy(zero_copy_only=False).astype(np.float32).reshape(len(cells), -1)
        return vectors
    if pa.types.is_float64(cells.type):
        numbers: Array = cells.to_numpy(zero_copy_only=False).astype(np.float32)
        return numbers
    codes, values = encode_dictionary(cells)
    return values[codes]


def encode_dictionary(cells: Any) -> tuple[Array, Array]:
    """``(codes int64 [N], values object [V])`` of texts; a null is an empty text."""
    encoded = pc.dictionary_encode(pc.fill_null(cells, ""))
    values = np.empty(len(encoded.dictionary), object)
    values[:] = encoded.dictionary.to_pylist()
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64), values


def is_date(text: str) -> bool:
    """Whether a text is a date or time as ISO 8601."""
    return _DATE.fullmatch(text) is not None
