"""A captured row of several inputs: JSON by the names of tensors, for whoever learns or measures from it. Slim."""

import base64
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from modelyard.models.types import Array

DTYPE = "json"
"""In place of the type of a single input's tensor."""
Value = str | bytes | float | Array
"""A text, category or date; a file; a number, NaN if it is missing; a vector, sequence or pixels."""


def encode_row(inputs: Mapping[str, Array], row: int) -> bytes:
    """One row of every input; the same for equal rows."""
    values = {name: _encode_value(array[row]) for name, array in sorted(inputs.items())}
    return orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)


def decode_row(content: bytes) -> dict[str, Value]:
    """What ``encode_row`` wrote."""
    return {name: _decode_value(value) for name, value in orjson.loads(content).items()}


def _encode_value(value: Any) -> Any:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"b64": _encode_base64(value)}
    if value.shape:
        return {"dtype": value.dtype.name, "shape": value.shape, "b64": _encode_base64(value.tobytes())}
    number = value.item()
    return None if isinstance(number, float) and math.isnan(number) else number


def _encode_base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _decode_value(value: Any) -> Value:
    if not isinstance(value, dict):
        return value if isinstance(value, str) else math.nan if value is None else float(value)
    content = base64.b64decode(value["b64"])
    if "dtype" not in value:
        return content
    array: Array = np.frombuffer(content, value["dtype"]).reshape(value["shape"])
    return array
