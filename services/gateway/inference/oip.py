"""``/v2``: the Open Inference Protocol, over the same versions and labels as ``/v1``.

Format: kserve/open-inference-protocol ``inference_rest.md``; triton-inference-server/server
``docs/protocol/extension_binary_data.md`` and ``extension_model_repository.md``.
"""

import importlib.metadata
from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, g, request

from modelyard.models.errors import ModelyardError
from modelyard.services.gateway.auth.principal import current_principal
from modelyard.services.gateway.http.body import find_limit, read_body
from modelyard.services.gateway.http.paths import V2_MODELS, parse_servable
from modelyard.services.gateway.http.query import check_parameters
from modelyard.services.gateway.inference import oip_models
from modelyard.services.gateway.inference.prediction import OIP, Predictions
from modelyard.services.gateway.serving.failed_versions import VersionFailed
from modelyard.services.gateway.serving.interface import Interface

EXTENSIONS = ("binary_tensor_data", "model_repository")


class ReadOnlyRepository(ModelyardError):
    """What is loaded follows from rollouts; this protocol only reads it."""

    status = 501


def routes(predictions: Predictions, not_ready: Callable[[], list[str]]) -> Blueprint:
    """The protocol's routes. ``not_ready``: why the server is not ready."""
    views = Blueprint("v2", __name__)
    add_model_views(views, predictions)
    add_server_views(views, predictions, not_ready)
    return views


def add_model_views(views: Blueprint, predictions: Predictions) -> None:
    """Predictions and metadata of one version."""
    predictor = predictions.predictor

    def find(model: str, version: str | None) -> Interface:
        interface = predictor.wait_for_interface(parse_servable(model, version))
        g.record.set_interface(interface)
        return interface

    def infer(model: str, version: str | None = None) -> Response:
        check_parameters(request.args.to_dict(flat=False), ())
        return predictions.respond(OIP, parse_servable(model, version))

    def metadata(model: str, version: str | None = None) -> dict[str, Any]:
        check_parameters(request.args.to_dict(flat=False), ("signature_name",))
        interface = find(model, version)
        name = request.args.get("signature_name")
        return oip_models.describe_interface(interface, predictor.get_states(model), name)

    def model_ready(model: str, version: str | None = None) -> tuple[dict[str, Any], int]:
        try:
            interface = find(model, version)
        except VersionFailed as failure:
            return {"name": model, "ready": False, "error": str(failure)}, 503
        if predictor.is_ready(interface):
            return {"name": model, "ready": True}, 200
        return {"name": model, "ready": False, "error": f"version {interface.version} of {model} is not ready"}, 503

    for path in V2_MODELS:
        views.post(f"{path}/infer")(infer)
        views.get(f"{path}/", strict_slashes=False)(metadata)
        views.get(f"{path}/ready/", strict_slashes=False)(model_ready)


def add_server_views(views: Blueprint, predictions: Predictions, not_ready: Callable[[], list[str]]) -> None:
    """The server itself, and its repository of models."""
    predictor, limits = predictions.predictor, predictions.limits

    @views.get("/v2/", strict_slashes=False)
    def server() -> dict[str, Any]:
        return {"name": "modelyard", "version": importlib.metadata.version("modelyard"), "extensions": EXTENSIONS}

    @views.get("/v2/health/live/", strict_slashes=False)
    def live() -> dict[str, Any]:
        return {"live": True}

    @views.get("/v2/health/ready/", strict_slashes=False)
    def ready() -> tuple[dict[str, Any], int]:
        reasons = not_ready()
        return ({"ready": False, "error": "; ".join(reasons)}, 503) if reasons else ({"ready": True}, 200)

    @views.post("/v2/repository/index/", strict_slashes=False)
    def index() -> list[dict[str, Any]]:
        ready_only = oip_models.wants_ready_only(read_body(request, find_limit(limits, "max_json_bytes")), limits)
        visible = [model for model in predictor.list_models() if current_principal().can_see(model)]
        return oip_models.list_versions(predictor, visible, ready_only=ready_only)

    @views.post("/v2/repository/models/<model:model>/load", endpoint="load")
    @views.post("/v2/repository/models/<model:model>/unload", endpoint="unload")
    def change(model: str) -> Response:
        raise ReadOnlyRepository(
            f"which versions of {model} are loaded follows from its rollout: POST /api/jobs starts one"
        )
