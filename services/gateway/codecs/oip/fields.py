"""Fields of a V2 request, one by one: objects with known keys, parameters, names, flags."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import orjson

from modelyard.models.registry.manifest import TensorSpec
from modelyard.services.gateway.codecs.json_syntax import check_structure, find_not_finite
from modelyard.services.gateway.codecs.oip.binary import DATATYPES, datatype
from modelyard.services.gateway.codecs.tensors import SHOWN_CHARS, describe
from modelyard.services.gateway.http.errors import InvalidRequest
from modelyard.services.gateway.serving.interface import Interface
from modelyard.services.gateway.settings import GatewaySettings

UNSUPPORTED_PARAMETERS = (
    *("classification", "sequence_id", "sequence_start", "sequence_end"),
    *("shared_memory_region", "shared_memory_offset", "shared_memory_byte_size"),
)
"""Parameters of extensions that change the request: to ignore them would be wrong."""


def parse(head: bytes, limits: GatewaySettings, keys: frozenset[str]) -> dict[str, Any]:
    """A JSON object with known keys; keys without a value are left out. Nesting is measured before it is climbed."""
    check_structure(head, limits)
    try:
        parsed = orjson.loads(head)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(find_not_finite(head, error) or f"malformed JSON: {error}") from None
    return parse_object("", parsed, keys)


def parse_tensors(
    key: str, values: Any, specs: Sequence[TensorSpec], keys: frozenset[str]
) -> list[tuple[str, TensorSpec, dict[str, Any]]]:
    """A list of named tensors: the place, spec and fields of each. No name may occur twice."""
    if not isinstance(values, list):
        raise InvalidRequest(f"{key}: expected a list, received {describe(values)}")
    known, found = {spec.name: spec for spec in specs}, []
    for index, value in enumerate(values):
        where = f"{key}[{index}]"
        given = parse_object(where, value, keys)
        name = given.get("name")
        if not isinstance(name, str) or name not in known:
            raise InvalidRequest(
                f"{where}.name: expected {join_names(known.values()) or 'no more'}, received {describe(name)}"
            )
        found.append((where, known.pop(name), given))
    return found


def parse_parameters(where: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters at one place; unknown ones are ignored, as the protocol demands.

    Raises:
        InvalidRequest: not an object, a value that is neither a string nor a number nor a flag, or a parameter of an
            extension that is not served.
    """
    parameters = parse_object(f"{where}parameters", given.get("parameters", {}), None)
    for name, value in parameters.items():
        if isinstance(value, dict | list):
            place = f"{where}parameters.{name[:SHOWN_CHARS]}"
            raise InvalidRequest(f"{place}: expected a string, a number, true or false, received {describe(value)}")
    for name in UNSUPPORTED_PARAMETERS:
        if parameters.get(name):
            raise InvalidRequest(f"{where}parameters.{name}: expected none, as this extension is not served here")
    return parameters


def parse_object(where: str, value: Any, keys: frozenset[str] | None) -> dict[str, Any]:
    """A JSON object with no other keys than these; null is taken as absent, as clients send it so."""
    place = f"{where}: " if where else ""
    if not isinstance(value, dict):
        raise InvalidRequest(f"{place}expected a JSON object, received {describe(value)}")
    if keys is not None and (unknown := sorted(value.keys() - keys)):
        raise InvalidRequest(f"{place}expected the keys {', '.join(sorted(keys))}; received {describe(unknown[0])}")
    return {key: item for key, item in value.items() if item is not None}


def parse_signature(name: Any, interface: Interface) -> str:
    """A signature's name; raises ``InvalidRequest`` with those that there are."""
    if not isinstance(name, str) or name not in interface.signatures:
        expected = " or ".join(interface.signatures)
        raise InvalidRequest(f"signature_name: expected {expected}, received {describe(name)}")
    return name


def parse_id(body: Mapping[str, Any]) -> str | None:
    found = body.get("id")
    if found is not None and not isinstance(found, str):
        raise InvalidRequest(f"id: expected a string, received {describe(found)}")
    return found


def parse_timeout(parameters: Mapping[str, Any]) -> float | None:
    """Seconds; 0 and nothing at all mean none."""
    found = parameters.get("timeout", 0)
    if type(found) is not int or found < 0:
        raise InvalidRequest(f"parameters.timeout: expected a whole number of microseconds, received {describe(found)}")
    return found / 1_000_000 if found else None


def parse_flag(where: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidRequest(f"{where}: expected true or false, received {describe(value)}")
    return value


def check_supported(where: str, spec: TensorSpec) -> None:
    """Raises ``InvalidRequest`` for a tensor of the model's that the protocol has no type for."""
    if spec.dtype not in DATATYPES:
        raise InvalidRequest(f"{where}: {spec.name} has type {datatype(spec)}, for which there is no form here")


def join_names(specs: Iterable[TensorSpec], word: Literal["and", "or"] = "or") -> str:
    """Names of tensors, for an error."""
    return f" {word} ".join(spec.name for spec in specs)
