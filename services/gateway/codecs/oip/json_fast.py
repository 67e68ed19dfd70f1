"""The commonest JSON body of the V2 protocol, read without building nested lists: one input of floats.

The text of its ``data`` is cut out and read by simdjson into one flat buffer; what remains is small. Whatever is not
exactly this form is read as usual, which also writes the errors.
"""

import math
import re
import secrets
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import simdjson

from modelyard.models.registry.manifest import TensorSpec
from modelyard.models.types import Array
from modelyard.services.gateway.codecs import tfs_json_fast
from modelyard.services.gateway.codecs.json_syntax import check_structure, find_not_finite
from modelyard.services.gateway.codecs.oip.binary import Shape
from modelyard.services.gateway.http.errors import InvalidRequest
from modelyard.services.gateway.settings import GatewaySettings

_DATA = re.compile(rb'"data"\s*:\s*(?=\[)')
_NOT_STRUCTURE = bytes(sorted(set(range(256)) - set(b"[],")))
_BETWEEN = b" \t\r\n,"
MAX_VALUES = 250_000
"""Maximum of values: with more, patterns to compare with would be large."""
PLACEHOLDER = secrets.token_hex(8)
"""Nothing that a client could have written."""
MIN_BYTES = 1024
"""Bodies for which this does not pay."""


@dataclass(frozen=True)
class RawData:
    """JSON text that is a list, probably of numbers; not parsed yet."""

    text: bytes
    limits: GatewaySettings


@dataclass(frozen=True)
class SplitBody:
    """A body whose only ``data`` is replaced by a placeholder, and the text of ``data``."""

    rest: bytes
    data: RawData


def split_body(body: bytes, limits: GatewaySettings) -> SplitBody | None:
    """Takes ``data`` out of a body, up to where an object ends or a string begins; among numbers there is neither.

    None where this does not pay, or there is not exactly one ``data``.
    """
    found = _DATA.match(body, body.find(b'"data"')) if len(body) > MIN_BYTES and body.count(b'"data"') == 1 else None
    if found is None:
        return None
    start, end = found.end(), body.find(b"}", found.end())
    quote = body.find(b'"', start, end)
    text = body[start : end if quote < 0 else quote].rstrip(_BETWEEN)
    rest = body[:start] + b'"' + PLACEHOLDER.encode() + b'"' + body[start + len(text) :]
    return SplitBody(rest, RawData(text, limits))


def restore_data(cut: SplitBody, inputs: Any) -> bool:
    """Puts ``data`` back into the only input; False if it stood elsewhere."""
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        return False
    if inputs[0].get("data") != PLACEHOLDER:
        return False
    inputs[0]["data"] = cut.data
    return True


def parse_data(data: RawData) -> Any:
    """The usual nested lists, with the usual errors."""
    check_structure(data.text, data.limits)
    try:
        return orjson.loads(data.text)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(find_not_finite(data.text, error) or f"malformed JSON in data: {error}") from None


def decode_floats(spec: TensorSpec, shape: Shape, data: RawData) -> Array | None:
    """The tensor of this shape, from flat or nested JSON; None if the text is anything else, or a number not finite."""
    text, size = data.text, math.prod(shape)
    if spec.dtype not in ("float32", "float64") or not 0 < size <= MAX_VALUES or not shape:
        return None
    structure = text.translate(None, _NOT_STRUCTURE)
    flat = len(structure) == size + 1 and structure == b"[" + b"," * (size - 1) + b"]"
    if not flat and tfs_json_fast.count_rows(structure, shape[1:], shape[0]) != shape[0]:
        return None
    try:
        parsed: Any = simdjson.Parser().parse(text)
        found = np.frombuffer(parsed.as_buffer(of_type="d"))
    except (ValueError, TypeError, RuntimeError):
        return None
    with np.errstate(over="ignore"):
        values = found.astype(spec.dtype)
    return values.reshape(shape) if len(values) == size and np.isfinite(values).all() else None
