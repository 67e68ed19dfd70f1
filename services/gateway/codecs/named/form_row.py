"""One row of named inputs as the parts of a form: an image as its file, anything else as text."""

from collections.abc import Sequence
from typing import Any

from modelyard.models.registry.inputs.input_table import Column, InputTable
from modelyard.models.types import Array
from modelyard.services.gateway.codecs.named.csv_table import convert_cells
from modelyard.services.gateway.codecs.named.names import SHOWN_CHARS, match_names
from modelyard.services.gateway.codecs.named.values import CONVERTERS, convert, fill_missing
from modelyard.services.gateway.codecs.tensors import to_strings
from modelyard.services.gateway.codecs.tfs_json import parse_value
from modelyard.services.gateway.http.body import find_limit
from modelyard.services.gateway.http.errors import BodyTooLarge, InvalidRequest
from modelyard.services.gateway.settings import GatewaySettings


def decode(parts: Sequence[tuple[str, bytes]], table: InputTable, limits: GatewaySettings) -> dict[str, Array]:
    """One array of one row per input.

    Args:
        parts: names of fields, and their contents.

    Raises:
        InvalidRequest: a field that is no input, one too many or too few, or a value that does not fit.
        BodyTooLarge: an image, or a text.
    """
    try:
        names = match_names(table, tuple(name for name, _ in parts))
    except InvalidRequest as refused:
        raise InvalidRequest(f"form: {refused}") from None
    contents = dict(parts)
    found = {column.spec.name: read_part(column, name, contents[name], limits) for column, name in names}
    return found | {
        column.spec.name: fill_missing(column, 1) for column in table.columns if column.spec.name not in found
    }


def read_part(column: Column, name: str, content: bytes, limits: GatewaySettings) -> Array:
    """One value as a tensor of one row: the image, a number, a text; vectors and sequences as JSON."""
    where = name[:SHOWN_CHARS]
    limit = find_limit(limits, "max_image_bytes" if column.is_encoded else "max_json_bytes")
    if len(content) > limit.max_bytes:
        raise BodyTooLarge(f"{where}: {limit.describe(len(content), 'a part')}")
    if column.is_encoded:
        return to_strings([content])
    if column.kind in CONVERTERS:
        return convert_cells(column, [decode_text(where, content)], lambda _: where)
    values: Any = parse_value(content, limits)
    return convert(column, [values], lambda _: where)


def decode_text(where: str, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{where}: expected UTF-8, received byte 0x{content[error.start]:02x}") from None
