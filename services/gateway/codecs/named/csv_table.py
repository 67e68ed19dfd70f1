"""Rows of named inputs as ``text/csv`` (RFC 4180): found by the header, in any order; an empty field is missing."""

from collections.abc import Iterable, Sequence
from typing import Any

from modelyard.models.inputs import MISSING_MARKS
from modelyard.models.registry.inputs.input_table import Column, InputTable
from modelyard.models.types import Array
from modelyard.services.gateway.codecs.csv_rows import MAX_CELL_CHARS, NUMBER, check_cells, check_widths, read_cells
from modelyard.services.gateway.codecs.named.names import SHOWN_CHARS, join_names, list_expected, match_names
from modelyard.services.gateway.codecs.named.values import Place, convert
from modelyard.services.gateway.codecs.tensors import describe
from modelyard.services.gateway.http.errors import InvalidRequest
from modelyard.services.gateway.settings import GatewaySettings

NOTHING = frozenset({""})


def decode(body: bytes, table: InputTable, limits: GatewaySettings) -> dict[str, Array]:
    """One array per input. The first line names the columns: each of the table, and no other.

    Raises:
        InvalidRequest: not UTF-8, a header or a field that does not fit, no rows or too many; with row and column.
        BodyTooLarge: more cells than ``max_elements``.
    """
    check_cells(body, limits.max_elements)
    header, *rows = list(read_cells(body, strip=False)) or [[]]
    names = match_header([cell.strip() for cell in header], table)
    if not 0 < len(rows) <= limits.max_instances:
        raise InvalidRequest(f"expected 1 to {limits.max_instances} lines below the header, received {len(rows)}")
    check_widths(rows, len(header))
    return {
        column.spec.name: convert_cells(column, [row[index] for row in rows], name_cells(name))
        for column, name, index in names
    }


def match_header(header: Sequence[str], table: InputTable) -> list[tuple[Column, str, int]]:
    """The table's columns, with their names in the header and their places there.

    A column without a name is one of row numbers, as pandas writes it: training does not read it either.
    """
    given = tuple(filter(None, header))
    known = table.choose_names(frozenset(given))
    if not any(name in known for name in given):
        hint = "; commas separate columns" if len(given) == 1 and any(mark in given[0] for mark in ";\t|") else ""
        raise InvalidRequest(
            f"expected a first line with the names of the columns, {list_expected(table, marked=False)}; "
            f"received {join_names(header)}{hint}"
        )
    try:
        names = match_names(table, given, whole=True)
    except InvalidRequest as refused:
        extra = [name for name in given if name not in known]
        hint = "; columns that the model does not take, such as the target, have to be left out" if extra else ""
        raise InvalidRequest(f"header: {refused}{hint}") from None
    return [(column, name, header.index(name)) for column, name in names]


def name_cells(name: str) -> Place:
    return lambda index: f"row {index + 1}, column {name[:SHOWN_CHARS]}"


def convert_cells(column: Column, cells: Sequence[str], place: Place) -> Array:
    """As ``convert``; a cell that is empty is a missing value, and a mark such as NA is a missing number or date."""
    if column.kind == "number":
        return convert(column, list(parse_numbers(column, cells, place)), place)
    marks = MISSING_MARKS if column.kind == "date" else NOTHING
    return convert(
        column, [None if column.missing and cell.strip().lower() in marks else cell for cell in cells], place
    )


def parse_numbers(column: Column, cells: Iterable[str], place: Place) -> Iterable[Any]:
    """Numbers, and None for an empty cell where it may be missing."""
    for index, cell in enumerate(map(str.strip, cells)):
        if column.missing and cell.lower() in MISSING_MARKS:
            yield None
        elif NUMBER.fullmatch(cell) and len(cell) <= MAX_CELL_CHARS:
            yield float(cell)
        else:
            hint = " or nothing for a missing one" if column.missing else ""
            raise InvalidRequest(f"{place(index)}: expected a number{hint}, received {describe(cell)}")
