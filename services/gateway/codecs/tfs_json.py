"""TensorFlow Serving's JSON: row format ``instances`` -> ``predictions``, column format ``inputs`` -> ``outputs``.

Format: tensorflow/serving ``g3doc/api_rest.md`` and ``util/json_tensor.cc``; errors have its texts where it has
some, with the place added. ``docs/protocols.md`` lists what is different, and why.
"""

from collections.abc import Mapping
from typing import Any, Literal

import orjson

from modelyard.models.errors import ModelyardError
from modelyard.models.registry.manifest import SignatureSpec, TensorSpec
from modelyard.models.types import Array
from modelyard.services.gateway.codecs import json_syntax, tfs_json_errors
from modelyard.services.gateway.codecs.tensors import from_json, to_json
from modelyard.services.gateway.http.errors import InvalidRequest, Unimplemented
from modelyard.services.gateway.serving.interface import Interface
from modelyard.services.gateway.settings import GatewaySettings

DEFAULT_SIGNATURE = "serving_default"

JsonFormat = Literal["row", "column"]


# --- from the body ----------------------------------------------------------------------------------------------------


def parse(body: bytes, limits: GatewaySettings) -> dict[str, Any]:
    """A JSON object. A byte order mark in front is skipped.

    Raises:
        InvalidRequest: with the place, where the text is malformed.
        BodyTooLarge: as ``parse_value``.
    """
    if not body:
        raise InvalidRequest("JSON Parse error: The document is empty")
    parsed = parse_value(body.removeprefix(json_syntax.BYTE_ORDER_MARK), limits)
    if not isinstance(parsed, dict):
        raise InvalidRequest(f"JSON Value: {tfs_json_errors.json_text(parsed)} Is not object")
    return parsed


def parse_value(text: bytes, limits: GatewaySettings) -> Any:
    """Any JSON value; raises as ``json_syntax.check_structure``, or ``InvalidRequest`` for malformed text."""
    json_syntax.check_structure(text, limits)
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(json_syntax.describe_malformed(text, error)) from None


def find_signature(parsed: Mapping[str, Any], interface: Interface) -> str:
    """The requested signature, or the default one.

    Raises:
        InvalidRequest: names the valid ones.
    """
    name = parsed.get("signature_name", DEFAULT_SIGNATURE)
    if not isinstance(name, str):
        wrong = "not formatted correctly. 'signature_name' key must be a string value."
        raise InvalidRequest(f"JSON Value: {tfs_json_errors.json_text(parsed)} {wrong}")
    if (name := name or DEFAULT_SIGNATURE) not in interface.signatures:
        known = " or ".join(interface.signatures)
        raise InvalidRequest(f'Serving signature name: "{name[:200]}" not found in signature def; expected {known}')
    return name


def decode_inputs(
    parsed: Mapping[str, Any], signature: SignatureSpec, max_instances: int, *, shaped: bool = True
) -> tuple[JsonFormat, dict[str, Array]]:
    """The form of the body, and one array per input.

    Args:
        max_instances: largest number of instances.
        shaped: whether shapes must be the signature's.

    Raises:
        InvalidRequest: both forms or neither, other names than the signature's, or values that do not fit.
        Unimplemented: the column form of a type that has no JSON form.
    """
    form = choose_json_format(parsed, max_instances, shaped=shaped)
    specs = {spec.name: spec for spec in signature.inputs}
    try:
        values = split_rows(parsed["instances"], specs) if form == "row" else split_columns(parsed["inputs"], specs)
        return form, {name: from_json(spec, values[name], shaped=shaped) for name, spec in specs.items()}
    except InvalidRequest as refused:
        raise explain_refusal(refused, form, parsed, specs) from None


def choose_json_format(parsed: Mapping[str, Any], max_instances: int, *, shaped: bool = True) -> JsonFormat:
    """Row or column; raises ``InvalidRequest`` if it is neither or both, or not 1 to ``max_instances`` instances."""
    if "instances" not in parsed:
        if "inputs" not in parsed:
            raise InvalidRequest("Missing 'inputs' or 'instances' key")
        return "column"
    instances, wrong = parsed["instances"], ""
    if "inputs" in parsed:
        wrong = "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
    elif not isinstance(instances, list):
        wrong = "Expecting 'instances' to be an list/array"  # spelled so
    elif not instances:
        wrong = "No values in 'instances' array"
    if wrong:
        raise InvalidRequest(f"JSON Value: {tfs_json_errors.json_text(parsed)} {wrong}")
    if len(instances) > max_instances:
        hint = "" if shaped else "; one input without a batch axis goes into 'inputs'"
        raise InvalidRequest(f"instances: expected a list of 1 to {max_instances}, received {len(instances)}{hint}")
    return "row"


def split_rows(instances: list[Any], specs: Mapping[str, TensorSpec]) -> dict[str, Any]:
    """Per input the list of its values. A lone input may stand bare; several, or none, are an object per instance."""
    if not tfs_json_errors.names_inputs(instances[0]) and len(specs) == 1:
        return dict.fromkeys(specs, instances)
    for index, row in enumerate(instances):
        if not isinstance(row, dict) or row.keys() != specs.keys():
            raise InvalidRequest(f"instances[{index}]: expected {describe_object(specs)}")
    return {name: [row[name] for row in instances] for name in specs}


def split_columns(inputs: Any, specs: Mapping[str, TensorSpec]) -> dict[str, Any]:
    """Per input its value. A lone input may stand bare; names that are none of the inputs' are ignored."""
    if not tfs_json_errors.names_inputs(inputs) and len(specs) == 1:
        return dict.fromkeys(specs, inputs)
    if not isinstance(inputs, dict) or not specs.keys() <= inputs.keys():
        raise InvalidRequest(f"inputs: expected {describe_object(specs)}")
    return inputs


def explain_refusal(
    refused: InvalidRequest, form: JsonFormat, parsed: Mapping[str, Any], specs: Mapping[str, TensorSpec]
) -> ModelyardError:
    """TensorFlow Serving's text of an error, then ours, which names the place."""
    try:
        if form == "row":
            tfs_json_errors.check_rows(parsed["instances"], specs)
        else:
            tfs_json_errors.check_columns(parsed["inputs"], specs)
    except tfs_json_errors.Fault as fault:
        return (Unimplemented if fault.unimplemented else InvalidRequest)(f"{fault}; {refused}")
    return refused


def describe_object(specs: Mapping[str, TensorSpec]) -> str:
    """An object with a signature's inputs, for an error."""
    return f"an object with the names {', '.join(sorted(specs))}" if specs else "{}, as this signature has no inputs"


# --- responses ------------------------------------------------------------------------------------------------------


def check_rows(outputs: Mapping[str, Array]) -> None:
    """Raises ``InvalidRequest`` if an output has no rows, or another number of them than the others."""
    size = None
    for name, array in outputs.items():
        wrong = ""
        if not array.shape:
            wrong = "has no shape information "
        elif size not in (None, len(array)):
            wrong = f"has inconsistent batch size: {len(array)} expecting: {size}"
        if wrong:
            raise InvalidRequest(f"Tensor name: {name} {wrong}; send 'inputs' instead of 'instances'")
        size = len(array)


def encode_rows(outputs: Mapping[str, Array]) -> list[Any]:
    """One element per row: the bare value of a lone output, else an object by name; raises as ``check_rows``."""
    check_rows(outputs)
    values = {name: to_json(name, array) for name, array in outputs.items()}
    if len(values) == 1:
        return list(next(iter(values.values())))
    return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]


def encode_columns(outputs: Mapping[str, Array]) -> Any:
    """The bare value of a lone output, else an object by name."""
    values = {name: to_json(name, array) for name, array in outputs.items()}
    return values if len(values) > 1 else next(iter(values.values()))
