"""JSON text before it is parsed: how deeply it is nested and how many values it has, and where it is malformed.

The words for malformed text are RapidJSON's (``rapidjson/error/en.h``), which TensorFlow Serving uses.
"""

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import orjson

from modelyard.models.types import Array
from modelyard.services.gateway.http.errors import BodyTooLarge, InvalidRequest
from modelyard.services.gateway.settings import GatewaySettings

SMALL_BYTES = 64 * 1024
"""Up to here a regular expression is quicker than numpy, and the words of an error are worth a second parser."""
BLOCK_BYTES = 1024 * 1024
QUOTE, COMMA, COLON = b'",:'
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
WORDS = {
    "Expecting value": "Invalid value.",
    "Expecting property name enclosed in double quotes": "Missing a name for object member.",
    "Illegal trailing comma before end of array": "Invalid value.",
    "Illegal trailing comma before end of object": "Missing a name for object member.",
    "Expecting ':' delimiter": "Missing a colon after a name of object member.",
    "Unterminated string starting at": "Missing a closing quotation mark in string.",
    "Invalid control character at": "Invalid encoding in string.",
    "Invalid \\escape": "Invalid escape character in string.",
    "Invalid \\uXXXX escape": "Incorrect hex digit after \\u escape in string.",
}
"""RapidJSON's words by those of Python's parser."""
NUMBER_PARTS = {
    b".": "Miss fraction part in number.",
    b"e": "Miss exponent in number.",
    b"E": "Miss exponent in number.",
}
NOT_FINITE = re.compile(rb"-?(?:NaN|Inf(?:inity)?)\b", re.IGNORECASE)

_BACKSLASHES = re.compile(rb"\\*")
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
"""A string, or one without an end up to there: were it looked for again from each quote in it, that took hours."""
_NOT_BRACKETS = bytes(sorted(set(range(256)) - set(b"[]{}")))
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_STEP_OF_BYTE = np.zeros(256, np.int8)
_STEP_OF_BYTE[list(b"[{")] = 1
_STEP_OF_BYTE[list(b"]}")] = -1


class Structure(NamedTuple):
    """What can be told of JSON text without parsing it."""

    depth: int
    """Deepest nesting of brackets outside strings."""
    values: int
    """Upper limit of the number of values and names: commas and colons outside strings, and one."""


def check_structure(text: bytes, limits: GatewaySettings) -> None:
    """Looks before the parser does: it must meet neither a tower of brackets nor millions of values.

    Raises:
        InvalidRequest: nested too deeply.
        BodyTooLarge: more values than ``max_elements``.
    """
    found = measure(text)
    if found.depth > limits.max_depth:
        raise InvalidRequest(f"expected JSON nested at most {limits.max_depth} deep, received {found.depth}")
    if found.values > limits.max_elements:
        raise BodyTooLarge(
            f"expected at most {limits.max_elements} values, received about {found.values}; "
            "MODELYARD_MAX_ELEMENTS sets this limit"
        )


def measure(text: bytes) -> Structure:
    """A few passes over the bytes, no recursion."""
    if len(text) > SMALL_BYTES:
        return _measure_in_blocks(text)
    bare = _STRING.sub(b"", text)
    steps = np.frombuffer(bare.translate(_STEPS, _NOT_BRACKETS), np.int8)
    return Structure(int(steps.cumsum(dtype=np.int32).max(initial=0)), bare.count(b",") + bare.count(b":") + 1)


def _measure_in_blocks(text: bytes) -> Structure:
    depth, deepest, values, inside = 0, 0, 1, False
    for block in _cut_blocks(text):
        in_string = np.bitwise_xor.accumulate(block == QUOTE) ^ inside
        levels = depth + _levels(block, in_string)
        values += int(np.count_nonzero(((block == COMMA) | (block == COLON)) & ~in_string))
        depth, deepest, inside = int(levels[-1]), max(deepest, int(levels.max())), bool(in_string[-1])
    return Structure(deepest, values)


def _cut_blocks(text: bytes) -> Iterator[Array]:
    """Codes of the text in blocks, without its escapes; none is cut in two."""
    start = 0
    while start < len(text):
        end = start + BLOCK_BYTES
        if text[end - 1 : end] == b"\\":
            end = _BACKSLASHES.match(text, end).end() + 1  # type: ignore[union-attr]  # it matches nothing, too
        block, start = text[start:end], end
        if b"\\" in block:
            block = block.replace(b"\\\\", b"").replace(b'\\"', b"")
        if block:
            yield np.frombuffer(block, np.uint8)


def _levels(block: Array, in_string: Array) -> Array:
    steps = _STEP_OF_BYTE[block]
    steps[in_string] = 0
    levels: Array = steps.cumsum(dtype=np.int32)
    return levels


# --- what is wrong ----------------------------------------------------------------------------------------------------


def describe_malformed(text: bytes, error: orjson.JSONDecodeError) -> str:
    """Why text is no JSON, and where: RapidJSON's words where it has some, else the parser's."""
    if found := find_not_finite(text, error):
        return found
    words = translate(text) if len(text) <= SMALL_BYTES else None
    return f"JSON Parse error: {words or error.msg} at offset: {error.pos}"


def find_not_finite(text: bytes, error: orjson.JSONDecodeError) -> str | None:
    """The words for NaN or infinity, as other languages write them, where the parser stopped; else None."""
    found = NOT_FINITE.match(text, max(0, error.pos - 1)) or NOT_FINITE.match(text, error.pos)
    if found is None:
        return None
    return f"expected finite numbers, received {found[0].decode()}, which is not JSON, at offset: {found.start()}"


def translate(text: bytes) -> str | None:
    """RapidJSON's words; None where it would have another reason than Python's parser, or none."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Expecting ',' delimiter":
            return _describe_missing_comma(text[: error.pos], text[error.pos : error.pos + 1])
        return WORDS.get(error.msg)
    except (ValueError, RecursionError):  # not UTF-8, or a number of thousands of digits
        return None
    return None


def _describe_missing_comma(before: bytes, found: bytes) -> str:
    """By what stands there, and by the innermost list or object that is open."""
    if found in NUMBER_PARTS and before[-1:].isdigit():
        return NUMBER_PARTS[found]
    open_brackets: list[int] = []
    for code in _STRING.sub(b"", before):
        if code in b"[{":
            open_brackets.append(code)
        elif code in b"]}" and open_brackets:
            open_brackets.pop()
    if open_brackets and open_brackets[-1] == ord("{"):
        return "Missing a comma or '}' after an object member."
    return "Missing a comma or ']' after an array element."
