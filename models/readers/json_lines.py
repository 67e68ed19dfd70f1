"""Reads JSON lines: one object a line, keys are columns; a key that is not there is a missing value.

A key that none of the first ``LOOK_ROWS`` rows has is no column: inputs are known when a spec is loaded.
"""

from collections.abc import Collection, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from modelyard.models.errors import InvalidData
from modelyard.models.readers.csv_files import describe_encoding
from modelyard.models.readers.raw_table import LOOK_ROWS, RawTable, check_titles, make_empty

Row = dict[str, Any]


def read_json_lines(file: Path, ignore: Collection[str] = (), *, look: bool) -> RawTable:
    """All rows, or with ``look`` the first ``LOOK_ROWS``; columns to ignore are empty, whatever they hold.

    Raises:
        InvalidData: a line is no JSON object, or a value is an object or a list of other things than numbers; with the
            line as an editor counts them.
    """
    lines: list[int] = []
    rows: list[Row] = []
    for number, row in islice(iterate_rows(file), LOOK_ROWS if look else None):
        lines.append(number)
        rows.append(row)
    if not rows:
        raise InvalidData(f"{file.name} has no rows: expected one JSON object a line")
    titles = list(dict.fromkeys(title for row in rows[:LOOK_ROWS] for title in row))
    check_titles(file, [title.strip() for title in titles])

    def locate(index: int) -> str:
        return f"line {lines[index]}"

    table = RawTable(file, {}, locate)
    columns = {
        title.strip(): make_empty(len(rows)) if title.strip() in ignore else convert_values(table, title, rows)
        for title in titles
    }
    return RawTable(file, columns, locate)


def iterate_rows(file: Path) -> Iterator[tuple[int, Row]]:
    """Objects with the number of their line; empty lines are left out.

    Raises:
        InvalidData: a line is no JSON object.
    """
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.isspace():
                continue
            try:
                row = orjson.loads(line.removeprefix(b"\xef\xbb\xbf"))
            except orjson.JSONDecodeError as error:
                raise InvalidData(f"{file.name}, line {number}: {explain(file, line, error)}") from error
            if not isinstance(row, dict):
                raise InvalidData(f"{file.name}, line {number}: expected a JSON object, received {type(row).__name__}")
            yield number, row


def explain(file: Path, line: bytes, error: orjson.JSONDecodeError) -> str:
    try:
        line.decode()
    except UnicodeDecodeError:
        return describe_encoding(file).split(": ", 1)[1]
    return f"not JSON: {error.msg} at character {error.colno}"


def convert_values(table: RawTable, title: str, rows: list[Row]) -> Any:
    """A column: numbers if all are, lists of numbers if all are, else texts.

    Raises:
        InvalidData: a value is none of them.
    """
    values = [row.get(title) for row in rows]
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float}:
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    if kinds == {list}:
        return pa.array([_check_list(table, title, index, value) for index, value in enumerate(values)])
    return pa.array([_to_text(table, title, index, value) for index, value in enumerate(values)], pa.string())


def _check_list(table: RawTable, title: str, index: int, value: Any) -> Any:
    if value is not None and not all(type(number) in (int, float) for number in value):
        raise table.refuse(index, title, "expected a list of numbers; else leave it out with ignore")
    return None if value is None else [float(number) for number in value]


def _to_text(table: RawTable, title: str, index: int, value: Any) -> str | None:
    if isinstance(value, dict | list):
        raise table.refuse(
            index, title, f"expected a number or a text, received {_KINDS[type(value)]}; leave it out with ignore"
        )
    if value is None or isinstance(value, str):
        return value
    return str(value).lower() if isinstance(value, bool) else str(value)


_KINDS = {dict: "an object", list: "a list beside other values"}
