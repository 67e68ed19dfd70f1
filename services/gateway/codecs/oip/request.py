"""Requests of the Open Inference Protocol V2: a body to named arrays, within limits.

Format: kserve/open-inference-protocol ``inference_rest.md``; the binary extension as in ``v2_binary``. Stricter, as
everywhere in this gateway: unknown keys are refused, shapes must be the signature's, numbers must be finite.
"""

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flask import Request

from modelyard.models.registry.manifest import SignatureSpec, TensorSpec
from modelyard.models.types import Array
from modelyard.services.gateway.codecs import request as payload
from modelyard.services.gateway.codecs.oip import binary as v2_binary
from modelyard.services.gateway.codecs.oip import json_fast as v2_fast
from modelyard.services.gateway.codecs.oip.binary import Shape
from modelyard.services.gateway.codecs.oip.fields import (
    check_supported,
    flag,
    id_of,
    listed,
    parameters_of,
    parse,
    signature_of,
    tensors_of,
    timeout_of,
)
from modelyard.services.gateway.codecs.oip.json_data import from_data
from modelyard.services.gateway.codecs.tensors import check_shape, shown
from modelyard.services.gateway.codecs.tfs_json import DEFAULT_SIGNATURE
from modelyard.services.gateway.http.deadline import Deadline
from modelyard.services.gateway.http.errors import BodyTooLarge, InvalidRequest
from modelyard.services.gateway.serving.interface import Interface
from modelyard.services.gateway.settings import GatewaySettings

HEADER = "Inference-Header-Content-Length"
"""Length of the JSON in front of binary tensors; 0 where there is no JSON, and the body is the only input."""
KEYS = frozenset({"id", "inputs", "model_name", "model_version", "outputs", "parameters"})
"""Clients repeat the model's name; the path alone decides."""
INPUT_KEYS = frozenset({"data", "datatype", "name", "parameters", "shape"})
OUTPUT_KEYS = frozenset({"name", "parameters"})
MOST_DIMENSIONS = 32
MOST_ELEMENTS = 2**31 - 1


@dataclass(frozen=True)
class Wanted:
    """An output to be answered, and in which form."""

    spec: TensorSpec
    binary: bool


@dataclass(frozen=True)
class Asked:
    """What to run, on what, and what to answer."""

    id: str | None
    signature: str
    inputs: Mapping[str, Array]
    outputs: tuple[Wanted, ...]
    timeout_s: float | None = None
    """The caller's ``timeout`` parameter, which is in microseconds."""

    def within(self, until: Deadline) -> Deadline:
        """The earlier of two ends: the parameter's and the header's."""
        if self.timeout_s is None:
            return until
        return min(until, Deadline.after(self.timeout_s), key=lambda deadline: deadline.ends_at)


# --- the body ---------------------------------------------------------------------------------------------------------


def read(request: Request, interface: Interface, limits: GatewaySettings) -> Asked:
    """Reads a request by its header; its content type says nothing, as clients send none or a wrong one.

    Raises:
        InvalidRequest: says what was expected and what came. BodyTooLarge, UnsupportedType: before anything is parsed.
    """
    length = header_length(request.headers.get(HEADER))
    return asked(payload.read(request, most_bytes(length, limits)), length, interface, limits)


def most_bytes(length: int | None, limits: GatewaySettings) -> int:
    """What a body may hold: JSON alone, or tensors, too."""
    return limits.max_json_bytes if length is None else limits.max_tensor_bytes


def asked(body: bytes, length: int | None, interface: Interface, limits: GatewaySettings) -> Asked:
    """What a body asks, whose first ``length`` bytes are JSON; None: all of it, 0: none. Raises as ``read``."""
    if length == 0:
        return decode_raw(body, interface, limits)
    if length is None:
        return decode(body, memoryview(b""), interface, limits)
    if length > len(body):
        raise InvalidRequest(f"{HEADER}: expected at most the body's {len(body)} bytes, received {length}")
    if length > limits.max_json_bytes:
        raise BodyTooLarge(f"{HEADER}: expected at most {limits.max_json_bytes} bytes of JSON, received {length}")
    return decode(body[:length], memoryview(body)[length:], interface, limits)


def header_length(value: str | None) -> int | None:
    if value is None:
        return None
    if not (value.isascii() and value.isdecimal()):
        raise InvalidRequest(f"{HEADER}: expected a number of bytes, received {value[:20]!r}")
    return int(value[:18])


def decode(head: bytes, tail: memoryview, interface: Interface, limits: GatewaySettings) -> Asked:
    """A request from its JSON and the binary tensors behind it."""
    body = opened(head, limits.max_depth)
    parameters = parameters_of("", body)
    signature = signature_of(parameters.get("signature_name", DEFAULT_SIGNATURE), interface)
    spec = interface.signatures[signature]
    wanted = outputs_of(body, parameters, spec)
    inputs = dict(inputs_of(body, tail, spec, limits.max_instances))
    check_contents(inputs, interface, limits)
    return Asked(id_of(body), signature, inputs, wanted, timeout_of(parameters))


def opened(head: bytes, max_depth: int) -> dict[str, Any]:
    """The JSON as Python's values, but for the data of a lone input, which may stay ``v2_fast.Numbers``."""
    cut = v2_fast.cut(head)
    if cut is not None:
        with contextlib.suppress(InvalidRequest):  # then the whole body says what is wrong
            body = parse(cut.rest, max_depth, KEYS)
            if v2_fast.put_back(cut, body.get("inputs")):
                return body
    return parse(head, max_depth, KEYS)


def decode_raw(body: bytes, interface: Interface, limits: GatewaySettings) -> Asked:
    """A request without any JSON: the body is the only input of the default signature. Outputs are binary."""
    signature = signature_of(DEFAULT_SIGNATURE, interface)
    spec = interface.signatures[signature]
    if len(spec.inputs) != 1:
        raise InvalidRequest(f"expected JSON with the inputs {listed(spec.inputs)}, received a body without any")
    check_supported("inputs", spec.inputs[0])
    array = v2_binary.lone(spec.inputs[0], body)
    check_rows(spec.inputs[0], array.shape, limits.max_instances)
    inputs = {spec.inputs[0].name: array}
    check_contents(inputs, interface, limits)
    return Asked(None, signature, inputs, tuple(Wanted(output, binary=True) for output in spec.outputs))


def check_contents(inputs: Mapping[str, Array], interface: Interface, limits: GatewaySettings) -> None:
    for name, array in inputs.items():
        if array.dtype == object:
            payload.check_contents(name, array, interface, limits.max_batch_pixels)


# --- inputs -----------------------------------------------------------------------------------------------------------


def inputs_of(body: Mapping[str, Any], tail: memoryview, spec: SignatureSpec, most: int) -> Iterator[tuple[str, Array]]:
    """Every input of a signature by name. Binary ones lie in ``tail``, one behind the other in the JSON's order."""
    found = tensors_of("inputs", body.get("inputs"), spec.inputs, INPUT_KEYS)
    if len(found) != len(spec.inputs):
        received = listed(tensor for _, tensor, _ in found) or "none"
        raise InvalidRequest(f"inputs: expected {listed(spec.inputs)}, received {received}")
    for where, tensor, given in found:
        shape = shape_of(where, tensor, given, most)
        size = size_of(where, given, len(tail))
        if size is None:
            yield tensor.name, from_data(tensor, shape, given["data"])
        else:
            yield tensor.name, v2_binary.from_binary(tensor, shape, tail[:size])
            tail = tail[size:]
    if len(tail):
        raise InvalidRequest(
            f"expected the binary data of the inputs to fill the body, received {len(tail)} bytes more"
        )


def shape_of(where: str, spec: TensorSpec, given: Mapping[str, Any], most: int) -> Shape:
    """An input's shape, found to fit its spec, as does its datatype.

    Raises:
        InvalidRequest: another type or shape than the signature's.
    """
    check_supported(where, spec)
    if given.get("datatype") != v2_binary.datatype(spec):
        expected, received = v2_binary.datatype(spec), shown(given.get("datatype"))
        raise InvalidRequest(f"{where}.datatype: expected {expected}, received {received}")
    shape = sizes_of(f"{where}.shape", given.get("shape"))
    check_shape(spec, shape)
    check_rows(spec, shape, most)
    return shape


def sizes_of(where: str, sizes: Any) -> Shape:
    if not isinstance(sizes, list) or len(sizes) > MOST_DIMENSIONS:
        received = f"{len(sizes)}" if isinstance(sizes, list) else shown(sizes)
        raise InvalidRequest(f"{where}: expected a list of at most {MOST_DIMENSIONS} sizes, received {received}")
    odd = next((size for size in sizes if type(size) is not int or size < 0), None)
    if odd is not None or None in sizes:
        raise InvalidRequest(f"{where}: expected whole numbers from 0, received {shown(odd)}")
    if math.prod(max(size, 1) for size in sizes) > MOST_ELEMENTS:
        raise InvalidRequest(f"{where}: expected at most {MOST_ELEMENTS} elements, received more")
    return tuple(sizes)


def size_of(where: str, given: Mapping[str, Any], left: int) -> int | None:
    """How many of the ``left`` binary bytes are this input's; None if it stands in the JSON."""
    size = parameters_of(f"{where}.", given).get("binary_data_size")
    if (size is None) == ("data" not in given):
        raise InvalidRequest(
            f"{where}: expected data or parameters.binary_data_size, received {'neither' if size is None else 'both'}"
        )
    if size is not None and (type(size) is not int or not 0 <= size <= left):
        raise InvalidRequest(
            f"{where}.parameters.binary_data_size: expected at most the {left} bytes that are left after the JSON and "
            f"other inputs ({HEADER} says where the JSON ends), received {shown(size)}"
        )
    return size


def check_rows(spec: TensorSpec, shape: Shape, most: int) -> None:
    """No more inputs in one request than are allowed, where the model leaves their number open."""
    open_rows = bool(shape) and (spec.shape is None or spec.shape[0] is None)
    if open_rows and not 0 < shape[0] <= most:
        raise InvalidRequest(f"{spec.name}: expected 1 to {most} inputs, received {shape[0]}")


# --- outputs ----------------------------------------------------------------------------------------------------------


def outputs_of(body: Mapping[str, Any], parameters: Mapping[str, Any], spec: SignatureSpec) -> tuple[Wanted, ...]:
    """The outputs asked for, in that order; all where none is named."""
    binary = flag("parameters.binary_data_output", parameters.get("binary_data_output", False))
    named = []
    for where, tensor, given in tensors_of("outputs", body.get("outputs", []), spec.outputs, OUTPUT_KEYS):
        own = parameters_of(f"{where}.", given).get("binary_data", binary)
        named.append(Wanted(tensor, flag(f"{where}.parameters.binary_data", own)))
    wanted = tuple(named or [Wanted(tensor, binary) for tensor in spec.outputs])
    for output in wanted:
        check_supported("outputs", output.spec)
        if output.spec.dtype == "float16" and not output.binary:
            raise InvalidRequest(f"{output.spec.name}: FP16 has no JSON form; ask for it with binary_data true")
    return wanted
