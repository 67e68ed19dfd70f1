"""Rows and columns of named inputs as JSON: TensorFlow Serving's two forms, with names in any order.

Stricter than there, as a wrong name in silence is a wrong answer: no name may be unknown or given twice.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from modelyard.models.registry.inputs.input_table import Column, InputTable
from modelyard.models.types import Array
from modelyard.services.gateway.codecs.named.names import SHOWN_CHARS, list_expected, match_names
from modelyard.services.gateway.codecs.named.values import convert, fill_missing
from modelyard.services.gateway.codecs.tensors import describe
from modelyard.services.gateway.codecs.tfs_json import JsonFormat, choose_json_format
from modelyard.services.gateway.http.errors import InvalidRequest

ROWS = "instances"


def decode(
    parsed: Mapping[str, Any], body: bytes, table: InputTable, max_instances: int
) -> tuple[JsonFormat, dict[str, Array]]:
    """The form of a body, and one array per input.

    Args:
        parsed: what ``body`` holds.

    Raises:
        InvalidRequest: with the row and the name.
    """
    form = choose_json_format(parsed, max_instances)
    if form == "column":
        found = decode_columns(parsed["inputs"], table, max_instances)
        check_unambiguous(body, len(parsed) + count_names([parsed["inputs"]]))
        return form, found
    rows = parsed[ROWS]
    inputs = decode_rows(rows, table, lambda index, name: f"{ROWS}[{index}].{name[:SHOWN_CHARS]}")
    check_unambiguous(body, len(parsed) + count_names(rows))
    return form, inputs


def decode_quickly(body: bytes, table: InputTable, max_instances: int) -> dict[str, Array] | None:
    """As ``decode`` for a small body of rows and nothing else; None for any other, and for what would be refused."""
    try:
        parsed = orjson.loads(body)
        rows = parsed.get(ROWS) if type(parsed) is dict and len(parsed) == 1 else None
        if type(rows) is not list or not 0 < len(rows) <= max_instances:
            return None
        return decode(parsed, body, table, max_instances)[1]
    except (orjson.JSONDecodeError, InvalidRequest):
        return None


# --- rows -------------------------------------------------------------------------------------------------------------


def decode_rows(rows: Sequence[Any], table: InputTable, place: Any) -> dict[str, Array]:
    """One array per input, of objects by name; a lone input may stand bare.

    Args:
        place: what a value is called in an error, by its row's index and its name.
    """
    if len(table.columns) == 1 and not any(type(row) is dict and "b64" not in row for row in rows):
        (column,) = table.columns
        return {column.spec.name: convert(column, rows, lambda index: place(index, column.title))}
    names = name_rows(rows, table)
    if names is None:
        return decode_uneven_rows(rows, table, place)
    found = {
        column.spec.name: convert(column, [row[name] for row in rows], make_place(place, name))
        for column, name in names
    }
    return add_missing(found, table, len(rows))


def make_place(place: Any, name: str) -> Any:
    return lambda index: place(index, name)


def name_rows(rows: Sequence[Any], table: InputTable) -> Sequence[tuple[Column, str]] | None:
    """The columns that all rows name, with their names there; None where rows differ, or are no objects."""
    first = rows[0]
    if type(first) is not dict:
        return None
    names = first.keys()
    if not all(type(row) is dict and row.keys() == names for row in rows):
        return None
    return match_row(0, first, table)


def match_row(index: int, row: Mapping[str, Any], table: InputTable) -> Sequence[tuple[Column, str]]:
    try:
        return match_names(table, tuple(row))
    except InvalidRequest as refused:
        raise InvalidRequest(f"{ROWS}[{index}]: {refused}") from None


def decode_uneven_rows(rows: Sequence[Any], table: InputTable, place: Any) -> dict[str, Array]:
    """Rows of which some leave out what may be missing, or have other names for it."""
    values: dict[Column, list[Any]] = {column: [] for column in table.columns}
    for index, row in enumerate(rows):
        if type(row) is not dict:
            raise InvalidRequest(
                f"{ROWS}[{index}]: expected an object with the names {list_expected(table)}; received {describe(row)}"
            )
        named = dict(match_row(index, row, table))
        for column, held in values.items():
            held.append(row[named[column]] if column in named else None)
    return {column.spec.name: convert(column, held, make_place(place, column.title)) for column, held in values.items()}


def add_missing(found: dict[str, Array], table: InputTable, size: int) -> dict[str, Array]:
    """Columns that may be missing, and that no row has."""
    if len(found) == len(table.columns):
        return found
    return found | {
        column.spec.name: fill_missing(column, size) for column in table.columns if column.spec.name not in found
    }


# --- columns ----------------------------------------------------------------------------------------------------------


def decode_columns(inputs: Any, table: InputTable, max_rows: int) -> dict[str, Array]:
    """One array per input, of lists by name; a lone input may stand bare."""
    if type(inputs) is list and len(table.columns) == 1:
        inputs = {table.columns[0].title: inputs}
    if type(inputs) is not dict:
        raise InvalidRequest(
            f"inputs: expected an object with the names {list_expected(table)}; received {describe(inputs)}"
        )
    try:
        names = match_names(table, tuple(inputs))
    except InvalidRequest as refused:
        raise InvalidRequest(f"inputs: {refused}") from None
    size = count_values(inputs, [name for _, name in names], max_rows)
    found = {column.spec.name: convert(column, inputs[name], name_values(name)) for column, name in names}
    return add_missing(found, table, size)


def name_values(name: str) -> Any:
    return lambda index: f"inputs.{name[:SHOWN_CHARS]}[{index}]"


def count_values(inputs: Mapping[str, Any], names: Sequence[str], max_rows: int) -> int:
    """How many rows all columns have; raises ``InvalidRequest`` if they differ, or one is no list."""
    if odd := next((name for name in names if type(inputs[name]) is not list), None):
        raise InvalidRequest(f"inputs.{odd[:SHOWN_CHARS]}: expected a list, received {describe(inputs[odd])}")
    sizes = {name: len(inputs[name]) for name in names}
    size = next(iter(sizes.values()), 0)
    if odd := next((name for name, other in sizes.items() if other != size), None):
        raise InvalidRequest(
            f"inputs.{odd[:SHOWN_CHARS]}: expected {size} values as in {names[0][:SHOWN_CHARS]}, received {sizes[odd]}"
        )
    if not 0 < size <= max_rows:
        raise InvalidRequest(f"inputs: expected 1 to {max_rows} values in each, received {size}")
    return size


# --- names that are given twice ---------------------------------------------------------------------------------------


def count_names(rows: Sequence[Any]) -> int:
    """Names in objects, if none is given twice."""
    return sum(len(row) for row in rows if type(row) is dict)


def check_unambiguous(body: bytes, names: int) -> None:
    """Raises ``InvalidRequest`` for a name that is given twice in one object: of two values, one would be lost.

    Args:
        names: how many the parser found. Where the text has no more colons, it lost none; one in a text, as in a time,
            is worth a second parser.
    """
    if body.count(b":") > names:
        json.loads(body, object_pairs_hook=refuse_twice, parse_int=str, parse_float=str)


def refuse_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for index, (name, _) in enumerate(pairs) if name in dict(pairs[:index]))
        raise InvalidRequest(f"{twice[:SHOWN_CHARS]}: expected once in an object, received more than once")
    return found
