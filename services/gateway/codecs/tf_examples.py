"""JSON of classify and regress: ``examples`` and ``context`` to ``tf.Example``, results to lists.

Format and errors: tensorflow/serving ``g3doc/api_rest.md`` and ``util/json_tensor.cc``. The key of the response is
``results``, as in its code; its documentation says ``result``.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from modelyard.models.tfserving.messages import (
    classification_pb2,
    example_pb2,
    feature_pb2,
    input_pb2,
    regression_pb2,
)
from modelyard.services.gateway.codecs import tfs_json
from modelyard.services.gateway.codecs.tensors import decode_base64
from modelyard.services.gateway.codecs.tfs_json import DEFAULT_SIGNATURE
from modelyard.services.gateway.codecs.tfs_json_errors import json_kind, json_text
from modelyard.services.gateway.http.errors import InvalidOutput, InvalidRequest
from modelyard.services.gateway.serving.interface import Interface

INT64 = range(-(2**63), 2**63)
MAX_FLOAT = float(np.finfo(np.float32).max)
FEATURES = {"bytes_list": "bytes", "float_list": "float", "int64_list": "int64"}
"""TensorFlow Serving's names of what a feature holds."""


# --- from the body ----------------------------------------------------------------------------------------------------


def find_signature(parsed: Mapping[str, Any], interface: Interface) -> str:
    """As ``tfs_json.find_signature``, in the words that TensorFlow Serving has for these methods."""
    name = parsed.get("signature_name") or DEFAULT_SIGNATURE
    if isinstance(name, str) and name not in interface.signatures:
        known = " or ".join(interface.signatures)
        raise InvalidRequest(f"No signature was found with the name: {name[:200]}; expected {known}")
    return tfs_json.find_signature(parsed, interface)


def fill_input(found: input_pb2.Input, parsed: Mapping[str, Any], max_examples: int) -> None:
    """Puts ``examples`` into an empty message, and the features of ``context`` for all if there is one.

    Raises:
        InvalidRequest: no examples or more than ``max_examples``, or a value that is no feature.
    """
    given = parsed.get("examples")
    wrong = ""
    if "examples" not in parsed:
        wrong = "When method is classify, key 'examples' is expected and was not found"  # also of regress
    elif not isinstance(given, list):
        wrong = "Expecting 'examples' value to be an list/array"  # spelled so
    elif not given:
        wrong = "'examples' value is an empty array"
    if wrong or not isinstance(given, list):
        raise InvalidRequest(f"JSON Value: {json_text(parsed)} {wrong}")
    if len(given) > max_examples:
        raise InvalidRequest(f"examples: expected a list of 1 to {max_examples}, received {len(given)}")
    target: Any = found.example_list
    if "context" in parsed:
        target = found.example_list_with_context
        fill_example(target.context, parsed["context"])
    for example in given:
        fill_example(target.examples.add(), example)


def fill_example(example: example_pb2.Example, given: Any) -> None:
    """One flat JSON object into a message; a lone value is a feature of one."""
    example.features.SetInParent()
    if not isinstance(given, dict):
        raise InvalidRequest(f"Example must be JSON object but got JSON {json_kind(given)}")
    for name, content in given.items():
        feature = example.features.feature[name]
        for value in content if isinstance(content, list) else [content]:
            add_value(feature, name[:200], value)


def add_value(feature: feature_pb2.Feature, name: str, value: Any) -> None:
    """One value: whole numbers and booleans are int64, numbers with a fraction float, strings and base64 bytes."""
    wanted, content = feature_value(name, value)
    held = feature.WhichOneof("kind")
    if held not in (None, wanted):
        raise InvalidRequest(f"Unexpected element type in feature: {name} expecting type: {FEATURES[held]}")
    getattr(feature, wanted).value.append(content)


def feature_value(name: str, value: Any) -> tuple[str, Any]:
    """Which list a value belongs to, and what it is there."""
    if isinstance(value, str):
        return "bytes_list", value.encode()
    if isinstance(value, bool):
        return "int64_list", int(value)
    if isinstance(value, int):
        if value not in INT64:
            raise InvalidRequest(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
        return "int64_list", value
    if isinstance(value, float):
        if not math.isfinite(value) or abs(value) > MAX_FLOAT:
            raise InvalidRequest(f"Feature: {name}: expected a finite float32 value, received {json_text(value)}")
        return "float_list", value
    if not isinstance(value, dict) or len(value) != 1 or not isinstance(value.get("b64"), str):
        raise InvalidRequest(f"Feature: {name} has element with unexpected JSON type: {json_kind(value)}")
    content = decode_base64(value["b64"])
    if content is None:
        raise InvalidRequest(f"Unable to base64 decode; feature {name}")
    return "bytes_list", content


# --- responses ------------------------------------------------------------------------------------------------------


def encode_classes(reply: classification_pb2.ClassificationResponse) -> list[list[tuple[str, np.float32]]]:
    """Per example its pairs of label and score; raises ``InvalidOutput``."""
    if not reply.result.classifications:
        raise InvalidOutput("Cannot convert empty ClassificationResults to JSON")
    return [
        [(entry.label, finite_float32(entry.score)) for entry in classified.classes]
        for classified in reply.result.classifications
    ]


def encode_values(reply: regression_pb2.RegressionResponse) -> list[np.float32]:
    """A number per example; raises ``InvalidOutput``."""
    if not reply.result.regressions:
        raise InvalidOutput("Cannot convert empty RegressionResults to JSON")
    return [finite_float32(regressed.value) for regressed in reply.result.regressions]


def finite_float32(value: float) -> np.float32:
    """As the float32 that it is, which is printed in the fewest digits."""
    if not math.isfinite(value):
        raise InvalidOutput("the model returned a number that is not finite")
    return np.float32(value)
