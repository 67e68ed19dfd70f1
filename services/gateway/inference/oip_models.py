"""Metadata, state and index of models in the Open Inference Protocol V2."""

from collections.abc import Iterable, Mapping
from typing import Any

import grpc

from modelyard.models.registry.manifest import TensorSpec
from modelyard.models.tfserving.messages import ServingFailed, VersionStatus
from modelyard.services.gateway.codecs.oip.binary import datatype
from modelyard.services.gateway.codecs.oip.fields import parse, parse_flag, parse_signature
from modelyard.services.gateway.codecs.tfs_json import DEFAULT_SIGNATURE
from modelyard.services.gateway.http.errors import not_found_text
from modelyard.services.gateway.serving.interface import Interface
from modelyard.services.gateway.serving.predictor import Predictor
from modelyard.services.gateway.settings import GatewaySettings

PLATFORM = "tensorflow_savedmodel"
READY = "READY"
STATES = {"START": "LOADING", "LOADING": "LOADING", "AVAILABLE": READY, "UNLOADING": "UNLOADING", "END": "UNAVAILABLE"}
"""triton-inference-server/server ``docs/protocol/extension_model_repository.md`` by TensorFlow Serving's names."""
ANY = -1
"""A size that is left open."""


def describe_interface(interface: Interface, states: Mapping[int, str], signature_name: str | None) -> dict[str, Any]:
    """One signature of a version: the default one, or the first where there is none, unless another is named.

    Args:
        states: TensorFlow Serving's state of each of the model's versions.
        signature_name: the client's; None for the default one.
    """
    default = (
        DEFAULT_SIGNATURE
        if DEFAULT_SIGNATURE in interface.signatures
        else next(iter(interface.signatures), DEFAULT_SIGNATURE)
    )
    signature = interface.signatures[parse_signature(signature_name or default, interface)]
    return {
        "name": interface.model,
        "versions": [str(number) for number in sorted(states) if states[number] == "AVAILABLE"],
        "platform": PLATFORM,
        "inputs": [describe_tensor(spec) for spec in signature.inputs],
        "outputs": [describe_tensor(spec) for spec in signature.outputs],
    }


def describe_tensor(spec: TensorSpec) -> dict[str, Any]:
    """An input or output. The protocol cannot express an unknown rank: it is written as one open size."""
    sizes = (None,) if spec.shape is None else spec.shape
    return {"name": spec.name, "datatype": datatype(spec), "shape": [ANY if size is None else size for size in sizes]}


def wants_ready_only(body: bytes, limits: GatewaySettings) -> bool:
    """Whether the body of an index request, if there is one, restricts it to ready models."""
    parsed = parse(body, limits, frozenset({"ready"})) if body.strip() else {}
    return parse_flag("ready", parsed.get("ready", False))


def list_versions(predictor: Predictor, models: Iterable[str], *, ready_only: bool) -> list[dict[str, Any]]:
    """Every version of these models that the model server knows; a model without any is not available."""
    entries = [entry for model in models for entry in model_entries(predictor, model)]
    return [entry for entry in entries if entry["state"] == READY or not ready_only]


def model_entries(predictor: Predictor, model: str) -> list[dict[str, Any]]:
    try:
        statuses = predictor.get_status(model)
    except ServingFailed as failure:
        if failure.code is not grpc.StatusCode.NOT_FOUND:
            raise
        return [{"name": model, "state": "UNAVAILABLE", "reason": not_found_text(model, None)}]
    return [version_entry(model, status) for status in statuses]


def version_entry(model: str, status: VersionStatus) -> dict[str, Any]:
    state = STATES.get(status.state, "UNKNOWN")
    return {"name": model, "version": str(status.version), "state": state, "reason": status.error_message}
