"""The commonest JSON body, read without building nested lists: ``{"instances": [numbers of one known row shape]}``.

A nested list of one 28x28x1 image is 800 Python objects; simdjson fills one flat buffer instead
(``benchmarks/http_server.py`` has the numbers). Whatever is not exactly this form is left to ``tfs_json``, which also
writes the errors, so this module never refuses anything.
"""

import math
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import orjson
import simdjson

from modelyard.models.registry.manifest import TensorSpec
from modelyard.models.types import Array
from modelyard.services.gateway.serving.interface import Interface

SIGNATURE = "serving_default"
_HEAD = re.compile(rb'\s*\{\s*"instances"\s*:\s*(?=\[)')
_NOT_STRUCTURE = bytes(sorted(set(range(256)) - set(b"[],")))


def decode(body: bytes, interface: Interface, max_rows: int) -> dict[str, Array] | None:
    """The one float32 input of the default signature, shape [rows, *row shape]; None if the body is anything else."""
    spec = find_numeric_input(interface, SIGNATURE)
    if spec is None:
        return None
    head = _HEAD.match(body)
    if not head or body.find(b'"', head.end()) >= 0:  # another key, or a string
        return None
    row = row_shape(spec)
    structure = body.translate(None, _NOT_STRUCTURE)  # the head has none
    rows = count_rows(structure, row, max_rows)
    values = parse_numbers(body) if rows else None
    array = None if values is None or not rows else reshape_rows(values, (rows, *row))
    return None if array is None else {spec.name: array}


def decode_texts(body: bytes, interface: Interface, max_rows: int) -> dict[str, Array] | None:
    """The one string input of the default signature, shape [rows]; None if the body is anything but a list of texts."""
    signature = interface.signatures.get(SIGNATURE)
    if signature is None or [(spec.dtype, spec.shape) for spec in signature.inputs] != [("string", (None,))]:
        return None
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    texts = parsed.get("instances") if type(parsed) is dict and len(parsed) == 1 else None
    if type(texts) is not list or not 0 < len(texts) <= max_rows or set(map(type, texts)) != {str}:
        return None
    array = np.empty(len(texts), dtype=object)
    array[:] = [text.encode() for text in texts]
    return {signature.inputs[0].name: array}


def decode_lines(lines: Sequence[bytes], spec: TensorSpec) -> Array | None:
    """Rows that stand in a line each, shape [lines, *row shape]; None if any line is anything else.

    Args:
        spec: as ``find_numeric_input`` found it.
    """
    row = row_shape(spec)
    one = row_structure(row)
    if any(line.translate(None, _NOT_STRUCTURE) != one or b'"' in line for line in lines):
        return None
    values = parse_numbers(b'{"instances":[' + b",".join(lines) + b"]}")
    return None if values is None else reshape_rows(values, (len(lines), *row))


def reshape_rows(values: Array, shape: tuple[int, ...]) -> Array | None:
    """The values in rows; None if their number differs: [] has the structure of [1]."""
    return values.reshape(shape) if values.size == math.prod(shape) else None


def find_numeric_input(interface: Interface, signature: str) -> TensorSpec | None:
    """The only input of a signature, if it is float32 with rows of one known shape."""
    found = interface.signatures.get(signature)
    if found is None or len(found.inputs) != 1 or found.inputs[0].dtype != "float32":
        return None
    spec = found.inputs[0]
    return spec if spec.shape and spec.shape[0] is None and None not in spec.shape[1:] else None


def row_shape(spec: TensorSpec) -> tuple[int, ...]:
    assert spec.shape
    return spec.shape[1:]  # type: ignore[return-value]  # ``find_numeric_input`` has seen that no size is open


def count_rows(structure: bytes, row: tuple[int, ...], max_rows: int) -> int | None:
    """How many rows of this shape make this pattern of brackets and commas; None if it is another pattern."""
    one = row_structure(row)
    rows = (len(structure) - 1) // (len(one) + 1)
    return rows if 0 < rows <= max_rows and structure == b"[" + b",".join([one] * rows) + b"]" else None


@lru_cache(maxsize=64)
def row_structure(shape: tuple[int, ...]) -> bytes:
    """Brackets and commas of one array of this shape: ``[,]`` for (2,)."""
    inner = b""
    for size in reversed(shape):
        inner = b"[" + b",".join([inner] * size) + b"]"
    return inner


def parse_numbers(body: bytes) -> Array | None:
    """All numbers below ``instances`` as float32; None if there is anything else, or one that is not finite."""
    try:
        parsed: Any = simdjson.Parser().parse(body)
        found = parsed["instances"].as_buffer(of_type="d")
    except (ValueError, TypeError, RuntimeError):
        return None
    with np.errstate(over="ignore"):
        values = np.frombuffer(found).astype(np.float32)
    return values if np.isfinite(values).all() else None
