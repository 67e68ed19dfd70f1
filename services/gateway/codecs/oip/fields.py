"""Fields of a V2 request, one by one: objects with known keys, parameters, names, flags."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from modelyard.models.registry.manifest import TensorSpec
from modelyard.services.gateway.codecs import tfs_json as json_form
from modelyard.services.gateway.codecs.oip.binary import DATATYPES
from modelyard.services.gateway.codecs.tensors import shown
from modelyard.services.gateway.http.errors import InvalidRequest
from modelyard.services.gateway.serving.interface import Interface

NOT_SERVED = ("classification", "sequence_id", "shared_memory_region")
"""Parameters of extensions that change what is asked for: answering without heeding them would be wrong."""


def parse(head: bytes, max_depth: int, keys: frozenset[str]) -> dict[str, Any]:
    """A JSON object with known keys; keys without a value are left out. Nesting is measured before it is climbed."""
    if (deepest := json_form.depth(head)) > max_depth:
        raise InvalidRequest(f"expected JSON nested at most {max_depth} deep, received {deepest}")
    try:
        parsed = orjson.loads(head)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"malformed JSON: {error}") from None
    return object_of("", parsed, keys)


def tensors_of(
    key: str, values: Any, specs: Sequence[TensorSpec], keys: frozenset[str]
) -> list[tuple[str, TensorSpec, dict[str, Any]]]:
    """What a list of named tensors says: where each stands, its spec and its fields. No name stands there twice."""
    if not isinstance(values, list):
        raise InvalidRequest(f"{key}: expected a list, received {shown(values)}")
    known, found = {spec.name: spec for spec in specs}, []
    for index, value in enumerate(values):
        where = f"{key}[{index}]"
        given = object_of(where, value, keys)
        name = given.get("name")
        if not isinstance(name, str) or name not in known:
            raise InvalidRequest(
                f"{where}.name: expected {listed(known.values()) or 'no more'}, received {shown(name)}"
            )
        found.append((where, known.pop(name), given))
    return found


def parameters_of(where: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters at one place; those of nobody's concern are let through, as the protocol has it.

    Raises:
        InvalidRequest: not an object, or a parameter of an extension that is not served.
    """
    parameters = object_of(f"{where}parameters", given.get("parameters", {}), None)
    for name in NOT_SERVED:
        if parameters.get(name):
            raise InvalidRequest(f"{where}parameters.{name}: expected none, as this extension is not served here")
    return parameters


def object_of(where: str, value: Any, keys: frozenset[str] | None) -> dict[str, Any]:
    """A JSON object with no other keys than these; null is taken as absent, as clients send it so."""
    place = f"{where}: " if where else ""
    if not isinstance(value, dict):
        raise InvalidRequest(f"{place}expected a JSON object, received {shown(value)}")
    if keys is not None and (unknown := sorted(value.keys() - keys)):
        raise InvalidRequest(f"{place}expected the keys {', '.join(sorted(keys))}; received {shown(unknown[0])}")
    return {key: item for key, item in value.items() if item is not None}


def signature_of(name: Any, interface: Interface) -> str:
    """A signature's name; raises ``InvalidRequest`` with those that there are."""
    if not isinstance(name, str) or name not in interface.signatures:
        expected = " or ".join(interface.signatures)
        raise InvalidRequest(f"signature_name: expected {expected}, received {shown(name)}")
    return name


def id_of(body: Mapping[str, Any]) -> str | None:
    found = body.get("id")
    if found is not None and not isinstance(found, str):
        raise InvalidRequest(f"id: expected a string, received {shown(found)}")
    return found


def timeout_of(parameters: Mapping[str, Any]) -> float | None:
    """Seconds; 0 and nothing at all mean none."""
    found = parameters.get("timeout", 0)
    if type(found) is not int or found < 0:
        raise InvalidRequest(f"parameters.timeout: expected a whole number of microseconds, received {shown(found)}")
    return found / 1_000_000 if found else None


def flag(where: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidRequest(f"{where}: expected true or false, received {shown(value)}")
    return value


def check_supported(where: str, spec: TensorSpec) -> None:
    """Raises ``InvalidRequest`` for a tensor of the model's that the protocol has no type for."""
    if spec.dtype not in DATATYPES:
        raise InvalidRequest(f"{where}: {spec.name} has type {spec.dtype}, for which this protocol has no form")


def listed(specs: Iterable[TensorSpec]) -> str:
    """Names of tensors, for an error."""
    return " or ".join(spec.name for spec in specs)
