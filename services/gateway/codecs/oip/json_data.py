"""Tensors of the Open Inference Protocol V2 as the ``data`` of its JSON: nested, or flat row by row.

Format: kserve/open-inference-protocol ``inference_rest.md``, section Tensor Data. FP16 has no such form.
"""

import math
from typing import Any

import numpy as np

from modelyard.models.registry.inputs.input_table import Column
from modelyard.models.registry.manifest import TensorSpec
from modelyard.models.types import Array
from modelyard.services.gateway.codecs.named import values
from modelyard.services.gateway.codecs.oip.binary import Shape
from modelyard.services.gateway.codecs.oip.json_fast import RawData, decode_floats, parse_data
from modelyard.services.gateway.codecs.tensors import (
    check_types,
    describe,
    flatten,
    format_index,
    format_shape,
    to_numbers,
)
from modelyard.services.gateway.http.errors import InvalidRequest


def from_data(spec: TensorSpec, shape: Shape, data: Any, column: Column | None = None) -> Array:
    """The tensor that ``data`` holds; strings become an object array of ``bytes``.

    Args:
        spec: of a type in ``binary.DATATYPES``.
        shape: the client's; checked against the spec before.
        column: the input of this tensor, if it is one of a table.

    Raises:
        InvalidRequest: ragged lists, another number of values than the shape takes, a value of another type.
    """
    if spec.dtype == "float16":
        raise InvalidRequest(f"{spec.name}: FP16 has no JSON form; send it as binary data")
    if isinstance(data, RawData):
        quick = decode_floats(spec, shape, data)
        if quick is not None:
            return quick
        data = parse_data(data)
    found, leaves = flatten(spec.name, data)
    allowed = dict.fromkeys((shape, (math.prod(shape),)))
    if found not in allowed:
        wanted = " or ".join(map(format_shape, allowed))
        raise InvalidRequest(f"{spec.name}: expected data of shape {wanted}, received {format_shape(found)}")
    if column is not None and values.is_convertible(column):
        return values.convert(column, leaves, values.name_items(column))
    if spec.dtype == "string":
        return decode_texts(spec, shape, leaves)
    check_types(spec, shape, leaves)
    return to_numbers(spec, shape, leaves)


def decode_texts(spec: TensorSpec, shape: Shape, leaves: list[Any]) -> Array:
    odd = next((i for i, leaf in enumerate(leaves) if type(leaf) is not str), None)
    if odd is not None:
        raise InvalidRequest(
            f"{spec.name}{format_index(odd, shape)}: expected a string, received {describe(leaves[odd])}; "
            "what is not text can be sent as binary data"
        )
    array = np.empty(len(leaves), dtype=object)
    array[:] = [leaf.encode() for leaf in leaves]
    return array.reshape(shape)


def to_data(name: str, array: Array) -> Any:
    """Flat, for the JSON encoder: numbers stay an array, strings become a list.

    Raises:
        InvalidRequest: a string that is not UTF-8; only the binary form can represent it.
    """
    if array.dtype != object:
        return np.ascontiguousarray(array).reshape(-1)
    try:
        return [item.decode() for item in array.ravel()]
    except UnicodeDecodeError:
        raise InvalidRequest(
            f"{name}: the output is not UTF-8 and has no JSON form; ask for it with binary_data true"
        ) from None
