"""What is wrong with the tensors of a body, with TensorFlow Serving's texts, in its order.

Used only when ``tfs_json`` has refused a body, and slower: it walks value by value. Finds nothing where only this
gateway is stricter. Source: tensorflow/serving ``util/json_tensor.cc``.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from modelyard.models.registry.manifest import TensorSpec
from modelyard.services.gateway.codecs.tensors import FLOATS, INTEGERS, decode_base64, tensorflow_dtype

SHOWN_CHARS = 80
INT32 = range(-(2**31), 2**31)
RANGES = {"int64": range(-(2**63), 2**63), "uint32": range(2**32), "uint64": range(2**64)}
"""What an integer type takes; the smaller ones take what an int32 does, and wrap around."""
NUMBERS = frozenset({int, float})
ANY_VALUE = {"float32": NUMBERS, "float64": NUMBERS, "bool": frozenset({bool}), "string": frozenset({str})}
"""Types of which every value is valid."""
KINDS = {dict: "Object", list: "Array", str: "String", int: "Number", float: "Number"}


class Fault(Exception):
    """TensorFlow Serving's text, and whether its code is UNIMPLEMENTED instead of INVALID_ARGUMENT."""

    def __init__(self, json_text: str, *, unimplemented: bool = False) -> None:
        super().__init__(json_text)
        self.unimplemented = unimplemented


def check_rows(instances: Sequence[Any], specs: Mapping[str, TensorSpec]) -> None:
    """Checks the row format as TensorFlow Serving does; raises ``Fault`` for what it would refuse."""
    if not specs and not isinstance(instances[0], dict):
        return  # it has no words for a signature without inputs
    if len(specs) > 1 and not isinstance(instances[0], dict):
        raise Fault(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map"
        )
    named = names_inputs(instances[0])
    shapes: dict[str, list[int]] = {}
    for number, element in enumerate(instances):
        if names_inputs(element) is not named:
            expected, received = ("object", "list") if named else ("value/list", "object")
            raise Fault(f"Expecting {expected} but got {received} at item {number} of input list")
        values = element if named else {next(iter(specs)): element}
        for name, value in values.items():
            try:
                _element(name, value, specs, shapes)
            except Fault as fault:
                code = "UNIMPLEMENTED" if fault.unimplemented else "INVALID_ARGUMENT"
                key = f" key: {name}" if named else ""
                raise Fault(
                    f"Failed to process element: {number}{key} of 'instances' list. Error: {code}: {fault}"
                ) from (None)
        if values.keys() != specs.keys():
            raise Fault(
                f"Failed to process element: {number} of 'instances' list. JSON object: {json_text(element)} keys "
                f"must be equal to: {','.join(sorted(specs))}"
            )


def check_columns(inputs: Any, specs: Mapping[str, TensorSpec]) -> None:
    """The same for the column format."""
    if not names_inputs(inputs):
        if not specs:
            return
        if len(specs) > 1:
            raise Fault(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                "tensorinfo_map"
            )
        inputs = {next(iter(specs)): inputs}
    for name in sorted(specs):
        if name not in inputs:
            raise Fault(f"Missing named input: {name} in 'inputs' object.")
        _tensor(inputs[name], specs[name].dtype)


def names_inputs(value: Any) -> bool:
    """Whether a value is an object that names inputs; ``{"b64": "…"}`` is a value."""
    return isinstance(value, dict) and not (len(value) == 1 and isinstance(value.get("b64"), str))


def json_text(value: Any) -> str:
    """A value as it stood in the body, cut short."""
    try:
        found = orjson.dumps(value).decode()
    except orjson.JSONEncodeError:  # nested deeper than it goes
        found = json_kind(value)
    return found if len(found) <= SHOWN_CHARS else f"{found[:SHOWN_CHARS]}…"


def json_kind(value: Any) -> str:
    """RapidJSON's name of a value's type."""
    return KINDS.get(type(value)) or {None: "Null", True: "True", False: "False"}[value]


# --- one tensor -------------------------------------------------------------------------------------------------------


def _element(name: str, value: Any, specs: Mapping[str, TensorSpec], shapes: dict[str, list[int]]) -> None:
    """One element of the row format: as ``_tensor``, and of the same shape as those before it."""
    if name not in specs:
        raise Fault(f"JSON object: does not have named input: {name[:SHOWN_CHARS]}")
    shape, size = _tensor(value, specs[name].dtype)
    first = shapes.setdefault(name, shape)
    if shape != first:
        expected = _size(first)
        if size != expected:
            raise Fault(f"Expecting tensor size: {expected} but got: {size}")
        raise Fault(f"Expecting shape {json_text(first)} but got: {json_text(shape)}")


def _tensor(value: Any, dtype: str) -> tuple[list[int], int]:
    """Shape, taken from the first values of each level, and number of values; raises ``Fault``."""
    shape: list[int] = []
    level = value
    while isinstance(level, list):
        shape.append(len(level))
        level = level[0] if level else None
    return shape, _fill(value, 0, shape, dtype)


def _fill(value: Any, level: int, shape: list[int], dtype: str) -> int:
    rank = len(shape)
    if not isinstance(value, list):
        if level != rank:
            raise Fault(
                f"JSON Value: {json_text(value)} found at incorrect level: {level + 1} in the JSON DOM. "
                f"Expected at level: {rank}"
            )
        _check(value, dtype)
        return 1
    if level >= rank:
        raise Fault(f"Encountered list at unexpected level: {level} expected < {rank}")
    if len(value) != shape[level]:
        raise Fault(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
        )
    if level == rank - 1 and set(map(type, value)) <= ANY_VALUE.get(dtype, frozenset()):
        return len(value)
    return sum(_fill(item, level + 1, shape, dtype) for item in value)


def _check(value: Any, dtype: str) -> None:
    """One value of a tensor."""
    if isinstance(value, dict) and dtype == "string":
        if not isinstance(value.get("b64"), str) or len(value) != 1:
            raise Fault(f"JSON Value: {json_text(value)} not formatted correctly for base64 data")
        if decode_base64(value["b64"]) is None:
            raise Fault("Unable to base64 decode")
        return
    if dtype in FLOATS:
        fits = type(value) in (int, float)
    elif dtype in INTEGERS:
        fits = type(value) is int and value in RANGES.get(dtype, INT32)
    elif dtype in ("bool", "string"):
        fits = type(value) is (bool if dtype == "bool" else str)
    elif isinstance(value, dict):
        fits = False
    else:
        raise Fault(
            f"Conversion of JSON Value: {json_text(value)} to type: {tensorflow_dtype(dtype)}", unimplemented=True
        )
    if not fits:
        raise Fault(
            f"JSON Value: {json_text(value)} Type: {json_kind(value)} is not of expected type: "
            f"{tensorflow_dtype(dtype)}"
        )


def _size(shape: Sequence[int]) -> int:
    size = 1
    for count in shape:
        size *= count
    return size
