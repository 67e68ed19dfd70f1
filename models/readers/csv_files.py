"""Reads CSV: UTF-8, a header, one row a record. Every cell stays a text; nothing is guessed here."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import csv as arrow_csv

from modelyard.models.errors import InvalidData
from modelyard.models.readers.raw_table import LOOK_ROWS, RawTable, check_titles, merge_chunks

BLOCK_BYTES = 16 << 20
"""Bytes that are parsed at once; a row may not be longer."""


def read_csv(file: Path, delimiter: str, *, look: bool) -> RawTable:
    """All rows, or with ``look`` the first ``LOOK_ROWS``.

    Raises:
        InvalidData: no header, two columns of one name, a row with more or fewer cells, or bytes that are not UTF-8;
            with the line as an editor counts them.
    """
    titles = read_header(file, delimiter)
    check_titles(file, [title.strip() for title in titles])
    options: dict[str, Any] = {
        "read_options": arrow_csv.ReadOptions(block_size=BLOCK_BYTES),
        "parse_options": arrow_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        "convert_options": arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(titles, pa.string()), null_values=[""], strings_can_be_null=True
        ),
    }
    try:
        found = _read_first(file, options) if look else arrow_csv.read_csv(file, **options)
    except pa.ArrowInvalid as error:
        raise explain(file, delimiter, error) from error
    columns = {
        title.strip(): merge_chunks(cells) for title, cells in zip(found.column_names, found.columns, strict=True)
    }
    # A title that is empty is that of a row number, as pandas writes it.
    columns.pop("", None)
    return RawTable(file, columns, lambda index: f"line {find_line(file, delimiter, index)}")


def _read_first(file: Path, options: dict[str, Any]) -> Any:
    """The first ``LOOK_ROWS`` rows, or a few more."""
    batches, rows = [], 0
    with arrow_csv.open_csv(file, **options) as reader:
        for batch in reader:
            batches.append(batch)
            rows += len(batch)
            if rows >= LOOK_ROWS:
                break
        return pa.Table.from_batches(batches, schema=reader.schema).slice(0, LOOK_ROWS)


def read_header(file: Path, delimiter: str) -> list[str]:
    """The titles of the columns.

    Raises:
        InvalidData: the file has none, or its first line is not UTF-8.
    """
    for _, cells in iterate_records(file, delimiter):
        return cells
    raise InvalidData(f"{file.name} is empty: expected a header and rows")


def iterate_records(file: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Records with the number of their first line; lines without anything are left out.

    Raises:
        InvalidData: a line is not UTF-8, or holds what no CSV holds.
    """
    with file.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.reader(lines, delimiter=delimiter)
        line = 1
        try:
            for cells in reader:
                if cells:
                    yield line, cells
                line = reader.line_num + 1
        except UnicodeDecodeError:
            raise InvalidData(describe_encoding(file)) from None
        except csv.Error as error:
            raise InvalidData(f"{file.name}, line {line}: {error}") from error


def explain(file: Path, delimiter: str, error: Exception) -> InvalidData:
    """What is wrong with a file that could not be parsed, and where."""
    records = iterate_records(file, delimiter)
    try:
        _, titles = next(records)
        for line, cells in records:
            if len(cells) != len(titles):
                return InvalidData(
                    f"{file.name}, line {line}: expected {len(titles)} cells as in the header, received {len(cells)}"
                )
    except InvalidData as found:
        return found
    return InvalidData(f"{file.name}: {error}")


def describe_encoding(file: Path) -> str:
    """The first line that is not UTF-8."""
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return (
                    f"{file.name}, line {number}: byte {line[error.start]:#04x} is not UTF-8; "
                    "save the file with the encoding UTF-8"
                )
    return f"{file.name} is not UTF-8"


def find_line(file: Path, delimiter: str, index: int) -> int:
    """The line, counted from 1, where the record of a row begins."""
    for number, (line, _) in enumerate(iterate_records(file, delimiter)):
        if number == index + 1:  # the first record is the header
            return line
    return index + 2
