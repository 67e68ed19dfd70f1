"""Guesses what a column is, from the first rows of a file: always the same for the same rows."""

import re
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modelyard.models.errors import InvalidData
from modelyard.models.inputs import CategoryInput, DateInput, NumberInput, OneInput, TextInput, VectorInput
from modelyard.models.readers.cells import blank_missing, is_date
from modelyard.models.readers.raw_table import RawTable

TEXT_WORDS = 3
"""Mean words of a column from which on it is a text, if it also repeats itself little."""
TEXT_SHARE = 0.5
"""Share of different values from which on a column of several words is a text."""
_CODE = re.compile(r"0\d+")
"""Digits that are no number: a postcode, a number of a telephone."""


def guess_kind(table: RawTable, title: str) -> OneInput:
    """A number, category, text, date or list of numbers, from the first rows.

    Raises:
        InvalidData: lists that are all empty.
    """
    cells = table.columns[title]
    if pa.types.is_float64(cells.type):
        return NumberInput()
    if pa.types.is_list(cells.type):
        return VectorInput(find_size(table, title, cells))
    values = [value for value in blank_missing(cells).to_pylist() if value is not None]
    if not values:
        return CategoryInput()
    if is_numeric(values):
        return NumberInput()
    if all(is_date(value) for value in values):
        return DateInput()
    return TextInput() if is_text(values) else CategoryInput()


def is_numeric(values: list[str]) -> bool:
    """Whether all are numbers, and none a code such as 01234."""
    if any(_CODE.fullmatch(value) for value in values):
        return False
    try:
        pc.cast(pa.array(values), pa.float64())
    except pa.ArrowInvalid:
        return False
    return True


def is_text(values: list[str]) -> bool:
    """Whether values are sentences rather than names of something."""
    words = float(np.mean([len(value.split()) for value in values]))
    return words >= TEXT_WORDS and len(set(values)) > TEXT_SHARE * len(values)


def find_size(table: RawTable, title: str, cells: Any) -> int:
    """The length of the first list."""
    for index, value in enumerate(cells.to_pylist()):
        if value:
            return len(value)
        if value is not None:
            raise table.refuse(index, title, "expected a list of numbers, received an empty one")
    raise InvalidData(f"{table.file.name}, column {title!r}: expected lists of numbers, received none")
