"""Tensors to and from JSON values.

What does not fit its ``TensorSpec`` is refused with what was expected, what was received, and where.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np
import orjson

from modelyard.models.registry.manifest import SignatureSpec, TensorSpec
from modelyard.models.types import Array
from modelyard.services.gateway.http.errors import InvalidOutput, InvalidRequest

ACCEPTED: dict[str, frozenset[type]] = {
    "f": frozenset({int, float}),
    "i": frozenset({int}),
    "u": frozenset({int}),
    "b": frozenset({bool}),
    "O": frozenset({str, dict}),
}
"""Types of JSON leaves by numpy's kind. As TensorFlow Serving: 1 is a float, 1.0 is not an integer, true is neither."""
FLOATS = frozenset({"float32", "float64"})
INTEGERS = frozenset({"int8", "int16", "int32", "int64", "uint8", "uint32", "uint64"})
FROM_JSON = FLOATS | INTEGERS | {"bool", "string"}
"""Types that have a JSON form as an input, as in TensorFlow Serving."""
TO_JSON = FROM_JSON | {"uint16", "float16"}
"""Types that have one as an output."""
NAMES = {"float16": "half", "float32": "float", "float64": "double"}
"""TensorFlow's names of types where they are not numpy's."""
MAX_RANK = 32
SHOWN_CHARS = 40
_SPACES = re.compile(r"[ \t\r\n\v\f]+")


# --- from JSON --------------------------------------------------------------------------------------------------------


def from_json(spec: TensorSpec, values: Any, *, shaped: bool = True) -> Array:
    """An array of the spec's type and shape from nested lists; strings become an object array of ``bytes``.

    Args:
        shaped: whether the shape must be the spec's, too.

    Raises:
        InvalidRequest: ragged lists, another shape, a leaf of another type or out of range, bad base64.
    """
    if spec.dtype not in FROM_JSON:
        raise InvalidRequest(f"{spec.name}: values of type {spec.dtype} have no JSON form")
    shape, leaves = flatten(spec.name, values)
    if len(shape) > MAX_RANK:
        raise InvalidRequest(f"{spec.name}: expected at most {MAX_RANK} dimensions, received {len(shape)}")
    if shaped:
        check_shape(spec, shape)
    check_types(spec, shape, leaves)
    if spec.dtype == "string":
        array = np.empty(len(leaves), dtype=object)
        array[:] = [string_bytes(leaf, spec.name + format_index(i, shape)) for i, leaf in enumerate(leaves)]
        return array.reshape(shape)
    return to_numbers(spec, shape, leaves)


def flatten(name: str, values: Any) -> tuple[tuple[int, ...], list[Any]]:
    """Shape and leaves of nested lists; works a whole level at a time, which keeps large batches fast.

    Raises:
        InvalidRequest: two lists of one level differ in length, or a list stands beside a value.
    """
    shape: tuple[int, ...] = ()
    level = [values]
    while level and list in set(map(type, level)):
        sizes = [len(item) if type(item) is list else None for item in level]
        odd = next((i for i, size in enumerate(sizes) if size != sizes[0]), None)
        if odd is not None:
            raise InvalidRequest(
                f"{name}{format_index(odd, shape)}: expected {format_size(sizes[0])} as in "
                f"{name}{format_index(0, shape)}, received {format_size(sizes[odd])}"
            )
        shape = (*shape, len(level[0]))
        level = list(chain.from_iterable(level))
    return shape, level


def check_shape(spec: TensorSpec, shape: tuple[int, ...]) -> None:
    if spec.shape is None:
        return
    fits = len(shape) == len(spec.shape) and all(
        want in (None, size) for want, size in zip(spec.shape, shape, strict=True)
    )
    if not fits:
        raise InvalidRequest(f"{spec.name}: expected shape {format_shape(spec.shape)}, received {format_shape(shape)}")


def check_types(spec: TensorSpec, shape: tuple[int, ...], leaves: list[Any]) -> None:
    taken = ACCEPTED[numpy_dtype(spec).kind]
    if set(map(type, leaves)) <= taken:
        return
    odd = next(i for i, leaf in enumerate(leaves) if type(leaf) not in taken)
    wanted = 'a string or {"b64": "…"}' if spec.dtype == "string" else f"a {spec.dtype} value"
    raise InvalidRequest(f"{spec.name}{format_index(odd, shape)}: expected {wanted}, received {describe(leaves[odd])}")


def to_numbers(spec: TensorSpec, shape: tuple[int, ...], leaves: list[Any]) -> Array:
    dtype = numpy_dtype(spec)
    try:
        with np.errstate(over="ignore"):  # becomes infinite, which is looked for below
            array = np.array(leaves, dtype=dtype)
    except OverflowError:
        raise InvalidRequest(f"{spec.name}: expected {spec.dtype} values, received a number out of range") from None
    if dtype.kind == "f" and not np.isfinite(array).all():
        odd = int(np.flatnonzero(~np.isfinite(array))[0])
        raise InvalidRequest(
            f"{spec.name}{format_index(odd, shape)}: expected a finite {spec.dtype} value, "
            f"received {describe(leaves[odd])}"
        )
    return array.reshape(shape)


def to_strings(contents: list[bytes]) -> Array:
    """An object array of ``bytes``, shape [n]."""
    array = np.empty(len(contents), dtype=object)
    array[:] = contents
    return array


def string_bytes(leaf: Any, where: str) -> bytes:
    """UTF-8 of a string, or what ``{"b64": "…"}`` stands for."""
    if isinstance(leaf, str):
        return leaf.encode()
    encoded = leaf.get("b64")
    if len(leaf) != 1 or not isinstance(encoded, str):
        raise InvalidRequest(f'{where}: expected a string or {{"b64": "…"}}, received {describe(leaf)}')
    content = decode_base64(encoded)
    if content is None:
        raise InvalidRequest(f"{where}: expected standard base64, received {describe(encoded)}")
    return content


def decode_base64(encoded: str) -> bytes | None:
    """What base64 in the standard alphabet stands for, None if it is not that.

    As TensorFlow Serving (``absl::Base64Unescape``), takes it without padding and with white space in it.
    """
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        bare = _SPACES.sub("", encoded)
    try:
        return base64.b64decode(bare if "=" in bare else bare + "=" * (-len(bare) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


def numpy_dtype(spec: TensorSpec) -> np.dtype[Any]:
    try:
        return np.dtype(object if spec.dtype == "string" else spec.dtype)
    except TypeError:
        raise InvalidRequest(f"{spec.name}: values of type {spec.dtype} have no JSON form") from None


# --- to JSON ----------------------------------------------------------------------------------------------------------


def check_output_types(signature: SignatureSpec) -> None:
    """Before the model runs: raises ``InvalidRequest`` for an output that JSON has no form for, or for none at all."""
    if not signature.outputs:
        raise InvalidRequest("Cannot convert empty tensor map to JSON")  # TensorFlow Serving's text
    for spec in signature.outputs:
        if spec.dtype not in TO_JSON:
            raise InvalidRequest(f"{spec.name}: outputs of type {tensorflow_dtype(spec.dtype)} have no JSON form")


def check_output(spec: TensorSpec, outputs: Mapping[str, Array], *, shaped: bool = True, finite: bool = False) -> Array:
    """The named output, if it is as the manifest declares it and can be written as JSON.

    Args:
        shaped: whether its rank must be the spec's, too.
        finite: whether every number is known to be.

    Raises:
        InvalidOutput: it is missing, of another type or shape, or holds numbers that are not finite.
    """
    array = outputs.get(spec.name)
    if array is None:
        raise InvalidOutput(f"the model did not return {spec.name}")
    name = dtype_name(array.dtype)
    if name != spec.dtype or (shaped and spec.shape is not None and len(array.shape) != len(spec.shape)):
        raise InvalidOutput(
            f"{spec.name}: expected {spec.dtype} {format_shape(spec.shape)} from the model, "
            f"received {name} {format_shape(array.shape)}"
        )
    if not finite and array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InvalidOutput(f"{spec.name}: the model returned a number that is not finite")
    return array


@lru_cache(maxsize=64)
def dtype_name(dtype: np.dtype[Any]) -> str:
    """A ``TensorSpec``'s name of a type. Cached: numpy composes its own at each call, in 4 us."""
    return "string" if dtype.kind == "O" else dtype.name


def to_json(name: str, array: Array) -> Any:
    """What the JSON encoder takes: numbers stay an array, strings become nested lists.

    As TensorFlow Serving, strings of outputs named ``…_bytes`` are written as ``{"b64": "…"}``, others as they are.
    """
    if array.dtype != object:
        return array if array.shape else array[()]  # the encoder takes no arrays without a dimension
    binary = name.endswith("_bytes")
    texts = [{"b64": base64.b64encode(item).decode()} if binary else decode_utf8(name, item) for item in array.ravel()]
    nested = np.empty(len(texts), dtype=object)
    nested[:] = texts
    return nested.reshape(array.shape).tolist()


def decode_utf8(name: str, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise InvalidOutput(f"{name}: the model returned a string that is not UTF-8") from None


# --- texts ------------------------------------------------------------------------------------------------------------


def tensorflow_dtype(dtype: str) -> str:
    """TensorFlow's name of a type: ``float`` for float32, ``bfloat16`` for DT_BFLOAT16."""
    return NAMES.get(dtype, dtype.removeprefix("DT_").lower())


def format_index(position: int, shape: tuple[int, ...]) -> str:
    """``[1][0]``: the place of a flat position in an array of this shape."""
    return "".join(f"[{int(i)}]" for i in np.unravel_index(position, shape)) if shape else ""


def format_shape(shape: Iterable[int | None] | None) -> str:
    """``[n,28,28,1]``, with n where any size will do."""
    if shape is None:
        return "of any rank"
    return f"[{','.join('n' if size is None else str(size) for size in shape)}]"


def format_size(size: int | None) -> str:
    return "a value" if size is None else f"a list of {size}"


def describe(value: Any) -> str:
    """A value as it stood in the body, cut short."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = orjson.dumps(value).decode()
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}…"
