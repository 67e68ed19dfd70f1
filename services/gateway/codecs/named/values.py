"""Values of one column to its tensor: checked, canonical, and with the tensor's own mark where one is missing.

A missing number is NaN; a missing category, date or text is empty.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from modelyard.models.inputs import canonical_category, check_date
from modelyard.models.registry.inputs.input_table import Column
from modelyard.models.registry.manifest import TextLimits
from modelyard.models.types import Array
from modelyard.services.gateway.codecs import tensors
from modelyard.services.gateway.codecs.tensors import FLOATS, INTEGERS, describe, from_json, string_bytes
from modelyard.services.gateway.http.errors import InvalidRequest

Place = Callable[[int], str]
"""What a value is called in an error, by its index."""

NUMBERS = frozenset({int, float})
CATEGORIES = frozenset({str, int, float, bool})
STRINGS = frozenset({"string"})
NAN = math.nan


def convert(column: Column, values: Sequence[Any], place: Place) -> Array:
    """One value per row, as JSON has them, to the column's tensor.

    Raises:
        InvalidRequest: with the place, what is expected there, and what came.
    """
    if is_convertible(column):
        return CONVERTERS[column.kind](column, values, place)
    try:
        return from_json(column.spec, list(values))
    except InvalidRequest as refused:
        raise InvalidRequest(describe_nested(column, values, place) or str(refused)) from None


def is_convertible(column: Column) -> bool:
    """Whether a column has one value per row, with rules of its own beside its tensor's type."""
    shape, dtypes = column.spec.shape, FLOATS | INTEGERS if column.kind == "number" else STRINGS
    return column.kind in CONVERTERS and column.spec.dtype in dtypes and shape is not None and len(shape) == 1


def describe_nested(column: Column, values: Sequence[Any], place: Place) -> str | None:
    """What is wrong with the first row that does not stand alone; None if they only differ from each other."""
    for index, value in enumerate(values):
        try:
            from_json(column.spec, [value])
        except InvalidRequest as refused:
            return f"{place(index)}: {refused}"
    return None


def convert_numbers(column: Column, values: Sequence[Any], place: Place) -> Array:
    if column.spec.dtype in INTEGERS:
        return np.array(
            [read_integer(column, value, place(index)) for index, value in enumerate(values)], column.spec.dtype
        )
    kinds = set(map(type, values))
    if not kinds <= NUMBERS:
        values = [fill_number(column, value, index, place) for index, value in enumerate(values)]
    try:
        with np.errstate(over="ignore"):  # becomes infinite, which is looked for below
            array = np.array(values, column.spec.dtype)
    except OverflowError:
        array = np.array([to_float(value) for value in values], column.spec.dtype)
    if np.isinf(array).any():
        index = int(np.isinf(array).argmax())
        raise refuse(column, place(index), f"a finite {column.spec.dtype} number", values[index])
    return array


def read_integer(column: Column, value: Any, where: str) -> int:
    """A whole number, also written as 3.0; for a missing one there is no mark in such a tensor."""
    limits = np.iinfo(column.spec.dtype)
    if type(value) not in NUMBERS or value != value // 1 or not limits.min <= value <= limits.max:
        raise InvalidRequest(f"{where}: expected a whole number of {column.spec.dtype}, received {describe(value)}")
    return int(value)


def to_float(value: int | float) -> float:
    """Infinity for a whole number that is too large."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def fill_number(column: Column, value: Any, index: int, place: Place) -> int | float:
    if value is None and column.missing:
        return NAN
    if type(value) not in NUMBERS:
        raise refuse(column, place(index), "a number", value)
    number: int | float = value
    return number


def convert_categories(column: Column, values: Sequence[Any], place: Place) -> Array:
    if not set(map(type, values)) <= CATEGORIES:
        values = [read_category(column, value, place(index)) for index, value in enumerate(values)]
    known = column.spellings
    return encode_texts(column, [known.get(value) or spell(known, value) for value in values], place, "a category")


def spell(known: Mapping[str, str], value: str | bool | float) -> str:
    """A category as training saw it, or else its canonical text."""
    if isinstance(value, str) and (text := value.strip()) in known:
        return known[text]
    text = canonical_category(value)
    return known.get(text, text)


def read_category(column: Column, value: Any, where: str) -> Any:
    """A text, a number, true or false; base64 as the text that it is."""
    if type(value) in CATEGORIES:
        return value
    return read_text(column, value, where, "a text, a number, true or false")


def convert_dates(column: Column, values: Sequence[Any], place: Place) -> Array:
    texts = [read_date(column, value, place(index)) for index, value in enumerate(values)]
    return encode_texts(column, texts, place, "a date")


def read_date(column: Column, value: Any, where: str) -> str:
    text = read_text(column, value, where, EXPECTED_DATE).strip()
    try:
        if text:
            check_date(text)
    except ValueError:
        raise refuse(column, where, EXPECTED_DATE, text) from None
    return text


def convert_texts(column: Column, values: Sequence[Any], place: Place) -> Array:
    assert isinstance(column.limits, TextLimits)
    max_chars = column.limits.max_chars
    texts = [read_text(column, value, place(index), "a text") for index, value in enumerate(values)]
    for index, text in enumerate(texts):
        if len(text) > max_chars:
            raise InvalidRequest(f"{place(index)}: expected at most {max_chars} characters, received {len(text)}")
    return encode_texts(column, texts, place, "a text")


def read_text(column: Column, value: Any, where: str, expected: str) -> str:
    """A text, or what stands for a missing one. Base64 has to be UTF-8."""
    if type(value) is str:
        return value
    if value is None and column.missing:
        return ""
    if not isinstance(value, dict):
        raise refuse(column, where, expected, value)
    try:
        return string_bytes(value, where).decode()
    except UnicodeDecodeError:
        raise InvalidRequest(f"{where}: expected UTF-8, received other bytes") from None


def encode_texts(column: Column, texts: list[str], place: Place, expected: str) -> Array:
    """An object array of ``bytes``; an empty text only where it may be missing."""
    if not column.missing:
        for index, text in enumerate(texts):
            if not text or text.isspace():
                raise refuse(column, place(index), f"{expected}, which may not be missing here", text)
    return tensors.to_strings([text.encode() for text in texts])


def refuse(column: Column, where: str, expected: str, value: Any) -> InvalidRequest:
    hint = (
        f" or null{'' if column.kind == 'number' else ' or an empty text'} for a missing one" if column.missing else ""
    )
    return InvalidRequest(f"{where}: expected {expected}{hint}, received {describe(value)}")


def fill_missing(column: Column, size: int) -> Array:
    """A column that no row has, of one that may be missing."""
    return convert(column, [None] * size, lambda index: f"{column.title}[{index}]")


def check_array(column: Column, array: Array) -> Array:
    """A tensor that came as one, of the column's type and shape: as ``convert`` would have made it.

    Raises:
        InvalidRequest: as ``convert``.
    """
    if not is_convertible(column):
        return array
    if column.kind != "number":
        return convert(column, [decode(column, index, item) for index, item in enumerate(array)], name_items(column))
    wrong = np.isinf(array) if column.missing else ~np.isfinite(array)
    if wrong.any():
        index = int(wrong.argmax())
        expected = "a finite number, or NaN for a missing one" if column.missing else "a finite number"
        raise InvalidRequest(f"{column.spec.name}[{index}]: expected {expected}, received {array[index]}")
    return array


def decode(column: Column, index: int, item: bytes) -> str:
    try:
        return item.decode()
    except UnicodeDecodeError as error:
        found = f"byte 0x{item[error.start]:02x} at position {error.start}"
        raise InvalidRequest(f"{column.spec.name}[{index}]: expected UTF-8, received {found}") from None


def name_items(column: Column) -> Place:
    return lambda index: f"{column.spec.name}[{index}]"


EXPECTED_DATE = "a date as ISO 8601, such as 2026-11-29 or 2026-11-29T18:30:00"
CONVERTERS: dict[str, Callable[[Column, Sequence[Any], Place], Array]] = {
    "number": convert_numbers,
    "category": convert_categories,
    "date": convert_dates,
    "text": convert_texts,
}
"""By kind of input, for those of one value."""
