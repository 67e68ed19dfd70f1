"""Requests of the Open Inference Protocol V2: a body to named arrays, within limits.

Format: kserve/open-inference-protocol ``inference_rest.md``; the binary extension as in ``binary``. Stricter, as
everywhere in this gateway: unknown keys are refused, shapes must be the signature's, numbers must be finite.
"""

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from modelyard.models.registry.inputs.input_table import Column, InputTable
from modelyard.models.registry.manifest import SignatureSpec, TensorSpec
from modelyard.models.types import Array
from modelyard.services.gateway.codecs.inputs import ModelCall, check_inputs
from modelyard.services.gateway.codecs.named import values
from modelyard.services.gateway.codecs.oip import json_fast
from modelyard.services.gateway.codecs.oip.binary import Shape, datatype, decode_single, from_binary
from modelyard.services.gateway.codecs.oip.fields import (
    check_supported,
    join_names,
    parse,
    parse_flag,
    parse_id,
    parse_parameters,
    parse_signature,
    parse_tensors,
    parse_timeout,
)
from modelyard.services.gateway.codecs.oip.json_data import from_data
from modelyard.services.gateway.codecs.tensors import MAX_RANK, check_shape, describe
from modelyard.services.gateway.codecs.tfs_json import DEFAULT_SIGNATURE
from modelyard.services.gateway.http.body import HttpRequest, SizeSetting, find_limit
from modelyard.services.gateway.http.errors import BodyTooLarge, InvalidRequest
from modelyard.services.gateway.http.headers import Headers
from modelyard.services.gateway.http.side_process import INLINE_BYTES
from modelyard.services.gateway.serving.interface import Interface
from modelyard.services.gateway.settings import GatewaySettings

HEADER = "Inference-Header-Content-Length"
"""Length of the JSON before binary tensors; 0 where there is no JSON, and the body is the only input."""
KEYS = frozenset({"id", "inputs", "model_name", "model_version", "outputs", "parameters"})
"""Clients repeat the model's name; the path alone decides."""
INPUT_KEYS = frozenset({"data", "datatype", "name", "parameters", "shape"})
OUTPUT_KEYS = frozenset({"name", "parameters"})
MAX_ELEMENTS = 2**31 - 1


@dataclass(frozen=True)
class OutputRequest:
    """An output to be returned, and in which form."""

    spec: TensorSpec
    binary: bool


@dataclass(frozen=True, kw_only=True)
class InferCall(ModelCall):
    """What to run, on what, and what to return."""

    id: str | None
    outputs: tuple[OutputRequest, ...]


# --- the body ---------------------------------------------------------------------------------------------------------


def choose_size_setting(headers: Headers, _: str, __: GatewaySettings) -> SizeSetting:
    """By what a body may hold: JSON alone, or tensors, too."""
    return "max_tensor_bytes" if HEADER.lower() in headers else "max_json_bytes"


def decode(request: HttpRequest, interface: Interface, limits: GatewaySettings) -> InferCall:
    """Reads a request by its header; its content type is ignored, as clients send none or a wrong one.

    Raises:
        InvalidRequest: with what was expected and what came.
        BodyTooLarge: before anything is parsed.
    """
    body, length = request.body, header_length(request.headers)
    if length == 0:
        return decode_raw(body, interface, limits)
    if length is None:
        return decode_parts(body, memoryview(b""), interface, limits)
    if length > len(body):
        raise InvalidRequest(f"{HEADER}: expected at most the body's {len(body)} bytes, received {length}")
    if length > limits.max_json_bytes:
        raise BodyTooLarge(f"{HEADER}: {find_limit(limits, 'max_json_bytes').describe(length, 'JSON')}")
    return decode_parts(body[:length], memoryview(body)[length:], interface, limits)


def decode_quickly(request: HttpRequest, interface: Interface, limits: GatewaySettings) -> InferCall | None:
    """Numbers in binary form, which take little time however many they are; None for all other large bodies."""
    length = header_length(request.headers)
    if length is None or length > INLINE_BYTES:
        return None
    specs = [spec for signature in interface.signatures.values() for spec in signature.inputs]
    return None if any(spec.dtype == "string" for spec in specs) else decode(request, interface, limits)


def header_length(headers: Headers) -> int | None:
    """How many bytes of the body are JSON; None: all of it, 0: none."""
    value = headers.get(HEADER.lower())
    if value is None:
        return None
    if not (value.isascii() and value.isdecimal()):
        raise InvalidRequest(f"{HEADER}: expected a number of bytes, received {value[:20]!r}")
    return int(value[:18])


def decode_parts(head: bytes, tail: memoryview, interface: Interface, limits: GatewaySettings) -> InferCall:
    """A request from its JSON and the binary tensors behind it."""
    body = parse_head(head, limits)
    parameters = parse_parameters("", body)
    signature = parse_signature(parameters.get("signature_name", DEFAULT_SIGNATURE), interface)
    spec, table = interface.signatures[signature], interface.tables.get(signature)
    outputs = parse_outputs(body, parameters, spec)
    inputs = dict(parse_inputs(body, tail, spec, table))
    if table is not None:
        inputs = complete_rows(inputs, table)
    check_strings(inputs, limits)
    check_inputs(inputs, signature, interface, limits)
    return InferCall(
        id=parse_id(body),
        signature=signature,
        inputs=inputs,
        outputs=outputs,
        timeout_s=parse_timeout(parameters),
    )


def parse_head(head: bytes, limits: GatewaySettings) -> dict[str, Any]:
    """The JSON as Python's values, but for the data of a lone input, which may stay ``json_fast.RawData``."""
    cut = json_fast.split_body(head, limits)
    if cut is not None:
        with contextlib.suppress(InvalidRequest):  # then the whole body shows what is wrong
            body = parse(cut.rest, limits, KEYS)
            if json_fast.restore_data(cut, body.get("inputs")):
                return body
    return parse(head, limits, KEYS)


def decode_raw(body: bytes, interface: Interface, limits: GatewaySettings) -> InferCall:
    """A request without any JSON: the body is the only input of the default signature. Outputs are binary."""
    signature = parse_signature(DEFAULT_SIGNATURE, interface)
    spec = interface.signatures[signature]
    if len(spec.inputs) != 1:
        raise InvalidRequest(f"expected JSON with the inputs {join_names(spec.inputs, 'and')}, received none")
    check_supported("inputs", spec.inputs[0])
    inputs = {spec.inputs[0].name: decode_single(spec.inputs[0], body)}
    if (table := interface.tables.get(signature)) is not None:
        inputs = complete_rows(inputs, table)
    check_inputs(inputs, signature, interface, limits)
    outputs = tuple(OutputRequest(output, binary=True) for output in spec.outputs)
    return InferCall(id=None, signature=signature, inputs=inputs, outputs=outputs)


def check_strings(inputs: Mapping[str, Array], limits: GatewaySettings) -> None:
    """Raises ``BodyTooLarge`` for more strings than JSON may have values: each is an object of Python's."""
    for name, array in inputs.items():
        if array.dtype == object and array.size > limits.max_elements:
            expected = f"expected at most {limits.max_elements} strings (MODELYARD_MAX_ELEMENTS)"
            raise BodyTooLarge(f"{name}: {expected}, received {array.size}")


def complete_rows(inputs: Mapping[str, Array], table: InputTable) -> dict[str, Array]:
    """A table's tensors, checked, and those that no row has.

    Raises:
        InvalidRequest: they differ in rows, or hold what is no value of their column.
    """
    first = next(iter(inputs))
    if odd := next((name for name, array in inputs.items() if len(array) != len(inputs[first])), None):
        raise InvalidRequest(f"{odd}: expected {len(inputs[first])} rows as {first} has, received {len(inputs[odd])}")
    return {
        name: values.check_array(column, inputs[name])
        if name in inputs
        else values.fill_missing(column, len(inputs[first]))
        for name, column in table.by_tensor.items()
    }


# --- inputs -----------------------------------------------------------------------------------------------------------


def parse_inputs(
    body: Mapping[str, Any], tail: memoryview, spec: SignatureSpec, table: InputTable | None
) -> Iterator[tuple[str, Array]]:
    """Every input of a signature by name, but for those that may be missing.

    Binary ones lie in ``tail``, one behind the other in the JSON's order.
    """
    found = parse_tensors("inputs", body.get("inputs"), spec.inputs, INPUT_KEYS)
    columns = table.by_tensor if table is not None else {}
    if len(found) != len(spec.inputs) and not may_leave_out(columns, {tensor.name for _, tensor, _ in found}):
        received = join_names((tensor for _, tensor, _ in found), "and") or "none"
        raise InvalidRequest(f"inputs: expected {join_names(spec.inputs, 'and')}, received {received}")
    for where, tensor, given in found:
        shape = parse_shape(where, tensor, given)
        size, column = parse_binary_size(where, given, len(tail)), columns.get(tensor.name)
        if size is None:
            yield tensor.name, from_data(tensor, shape, given["data"], column)
        else:
            # A number's own check is ``complete_rows``: NaN may stand for a missing one.
            finite = column is None or column.kind != "number"
            yield tensor.name, from_binary(tensor, shape, tail[:size], finite=finite)
            tail = tail[size:]
    if len(tail):
        raise InvalidRequest(
            f"expected the binary data of the inputs to fill the body, received {len(tail)} bytes more"
        )


def may_leave_out(columns: Mapping[str, Column], found: set[str]) -> bool:
    """Whether all columns but these may be missing; one has to be there, to say how many rows there are."""
    return bool(found) and all(name in found or column.missing for name, column in columns.items()) and bool(columns)


def parse_shape(where: str, spec: TensorSpec, given: Mapping[str, Any]) -> Shape:
    """An input's shape, found to fit its spec, as does its datatype.

    Raises:
        InvalidRequest: another type or shape than the signature's.
    """
    check_supported(where, spec)
    if given.get("datatype") != datatype(spec):
        expected, received = datatype(spec), describe(given.get("datatype"))
        raise InvalidRequest(f"{where}.datatype: expected {expected}, received {received}")
    shape = parse_sizes(f"{where}.shape", given.get("shape"))
    check_shape(spec, shape)
    return shape


def parse_sizes(where: str, sizes: Any) -> Shape:
    if not isinstance(sizes, list) or len(sizes) > MAX_RANK:
        received = f"{len(sizes)}" if isinstance(sizes, list) else describe(sizes)
        raise InvalidRequest(f"{where}: expected a list of at most {MAX_RANK} sizes, received {received}")
    odd = next((size for size in sizes if type(size) is not int or size < 0), None)
    if odd is not None or None in sizes:
        raise InvalidRequest(f"{where}: expected whole numbers from 0, received {describe(odd)}")
    if math.prod(max(size, 1) for size in sizes) > MAX_ELEMENTS:
        raise InvalidRequest(f"{where}: expected at most {MAX_ELEMENTS} elements, received more")
    return tuple(sizes)


def parse_binary_size(where: str, given: Mapping[str, Any], left: int) -> int | None:
    """How many of the ``left`` binary bytes are this input's; None if it stands in the JSON."""
    size = parse_parameters(f"{where}.", given).get("binary_data_size")
    if (size is None) == ("data" not in given):
        raise InvalidRequest(
            f"{where}: expected data or parameters.binary_data_size, received {'neither' if size is None else 'both'}"
        )
    if size is not None and (type(size) is not int or not 0 <= size <= left):
        raise InvalidRequest(
            f"{where}.parameters.binary_data_size: expected at most the {left} bytes that are left after the JSON and "
            f"other inputs ({HEADER} says where the JSON ends), received {describe(size)}"
        )
    return size


# --- outputs ----------------------------------------------------------------------------------------------------------


def parse_outputs(
    body: Mapping[str, Any], parameters: Mapping[str, Any], spec: SignatureSpec
) -> tuple[OutputRequest, ...]:
    """The requested outputs, in that order; all where none is named."""
    binary = parse_flag("parameters.binary_data_output", parameters.get("binary_data_output", False))
    named = []
    for where, tensor, given in parse_tensors("outputs", body.get("outputs", []), spec.outputs, OUTPUT_KEYS):
        own = parse_parameters(f"{where}.", given).get("binary_data", binary)
        named.append(OutputRequest(tensor, parse_flag(f"{where}.parameters.binary_data", own)))
    outputs = tuple(named or [OutputRequest(tensor, binary) for tensor in spec.outputs])
    for output in outputs:
        check_supported("outputs", output.spec)
        if output.spec.dtype == "float16" and not output.binary:
            raise InvalidRequest(f"{output.spec.name}: FP16 has no JSON form; ask for it with binary_data true")
    return outputs
