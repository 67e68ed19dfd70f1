"""Rows of numbers as ``text/csv`` (RFC 4180), for models that take vectors."""

import csv
import io
import re
from collections.abc import Iterable, Mapping
from typing import Any

from modelyard.models.registry.manifest import TensorSpec
from modelyard.models.types import Array
from modelyard.services.gateway.codecs.tensors import (
    FLOATS,
    INTEGERS,
    check_shape,
    decode_utf8,
    describe,
    tensorflow_dtype,
    to_numbers,
)
from modelyard.services.gateway.codecs.tfs_json import DEFAULT_SIGNATURE
from modelyard.services.gateway.http.errors import BodyTooLarge, InvalidRequest
from modelyard.services.gateway.serving.interface import Interface
from modelyard.services.gateway.settings import GatewaySettings

TYPE = "text/csv"
VECTOR_RANK = 2
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
MAX_CELL_CHARS = 400
"""No number needs more."""


def find_signature(interface: Interface) -> str | None:
    """The signature whose only input is vectors of numbers: the default one, if it is such."""
    found = interface.signatures.get(DEFAULT_SIGNATURE)
    if found is None or len(found.inputs) != 1 or found.inputs[0].dtype not in FLOATS | INTEGERS:
        return None
    shape = found.inputs[0].shape
    return DEFAULT_SIGNATURE if shape is None or (len(shape) == VECTOR_RANK and shape[0] is None) else None


def decode(body: bytes, spec: TensorSpec, limits: GatewaySettings) -> Array:
    """One row per line, of shape [rows, numbers per line]; a first line that holds no numbers is a header.

    Raises:
        InvalidRequest: not UTF-8, no rows or too many, lines of different length, a cell that is no number.
        BodyTooLarge: more cells than ``max_elements``.
    """
    max_rows = limits.max_instances
    check_cells(body, limits.max_elements)
    rows = list(read_cells(body))
    if rows and not any(NUMBER.fullmatch(cell) for cell in rows[0]):
        header, *rows = rows
        check_widths(rows, len(header))
    if not 0 < len(rows) <= max_rows:
        raise InvalidRequest(f"expected 1 to {max_rows} lines of numbers, received {len(rows)}")
    width = len(rows[0])
    check_widths(rows, width)
    check_shape(spec, (len(rows), width))
    return to_numbers(spec, (len(rows), width), list(parse_values(rows, spec)))


def check_cells(body: bytes, max_cells: int) -> None:
    """Counts cells by what ends them, before they become objects."""
    cells = body.count(b",") + body.count(b"\n") + 1
    if cells > max_cells:
        expected = f"expected at most {max_cells} values, received about {cells}"
        raise BodyTooLarge(f"{expected}; MODELYARD_MAX_ELEMENTS sets this limit")


def read_cells(body: bytes, *, strip: bool = True) -> Iterable[list[str]]:
    """Lines that are not blank, cut into cells without the space around them, unless that may mean something."""
    try:
        text = body.decode("utf-8-sig")  # spreadsheets put a byte order mark in front
        for row in csv.reader(io.StringIO(text, newline=""), strict=True):
            if row:
                yield [cell.strip() for cell in row] if strip else row
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"expected UTF-8, received byte 0x{body[error.start]:02x}") from None
    except csv.Error as error:
        raise InvalidRequest(f"malformed CSV: {error}") from None


def check_widths(rows: Iterable[list[str]], width: int) -> None:
    for number, row in enumerate(rows, 1):
        if len(row) != width:
            raise InvalidRequest(f"row {number}: expected {width} cells as in the first line, received {len(row)}")


def parse_values(rows: Iterable[list[str]], spec: TensorSpec) -> Iterable[int | float]:
    wanted, convert = (INTEGER, int) if spec.dtype in INTEGERS else (NUMBER, float)
    for number, row in enumerate(rows, 1):
        for column, cell in enumerate(row, 1):
            if not wanted.fullmatch(cell) or len(cell) > MAX_CELL_CHARS:
                expected = f"a {tensorflow_dtype(spec.dtype)} number"
                raise InvalidRequest(f"row {number}, column {column}: expected {expected}, received {describe(cell)}")
            yield convert(cell)


def encode(outputs: Mapping[str, Array]) -> str:
    """Every output's values side by side, a row per input; ``name`` or ``name_0``, ``name_1`` … in the header.

    Args:
        outputs: all with the same number of rows.

    Raises:
        InvalidRequest: an output holds bytes that are no text.
    """
    flat = {name: array.reshape(len(array), -1) for name, array in outputs.items()}
    names = [f"{name}_{index}" for name, array in flat.items() for index in range(array.shape[1])]
    if len(names) == len(flat):
        names = list(flat)
    cells = [format_column(name, array) for name, array in flat.items()]
    return write_rows([names, *([cell for part in row for cell in part] for row in zip(*cells, strict=True))])


def format_column(name: str, array: Array) -> list[list[str]]:
    """An output's cells by row."""
    if array.dtype != object:
        return [[str(cell) for cell in row] for row in array]
    if name.endswith("_bytes"):
        raise InvalidRequest(f"{name} holds bytes, which {TYPE} cannot represent; request application/json")
    return [[decode_utf8(name, cell) for cell in row] for row in array]


def write_rows(rows: Iterable[Iterable[Any]]) -> str:
    file = io.StringIO(newline="")
    csv.writer(file).writerows(rows)
    return file.getvalue()
