"""``/v2``: the Open Inference Protocol, over the same versions and labels as ``/v1``.

Format: kserve/open-inference-protocol ``inference_rest.md``; triton-inference-server/server
``docs/protocol/extension_binary_data.md`` and ``extension_model_repository.md``.
"""

import importlib.metadata
from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, g, request

from modelyard.models.errors import ModelyardError
from modelyard.services.gateway.auth import principal as callers
from modelyard.services.gateway.codecs import request as payload
from modelyard.services.gateway.codecs.oip import request as v2_form
from modelyard.services.gateway.codecs.oip import response as v2_answer
from modelyard.services.gateway.http import deadline
from modelyard.services.gateway.inference import oip_models as v2_models
from modelyard.services.gateway.serving.predictor import Serving
from modelyard.services.gateway.serving.versions import KEY_HEADER
from modelyard.services.gateway.settings import GatewaySettings

EXTENSIONS = ("binary_tensor_data", "model_repository")
MODEL = "/v2/models/<model:model>"
VERSION = f"{MODEL}/versions/<label:version>"


class ChangedElsewhere(ModelyardError):
    """What is loaded follows from rollouts; this door only shows it."""

    status = 501


def routes(settings: GatewaySettings, serving: Serving, not_ready: Callable[[], list[str]]) -> Blueprint:
    """The protocol's routes. A version that is not a number is a label. ``not_ready``: why the server is not."""
    views = Blueprint("v2", __name__)

    @views.post(f"{MODEL}/infer")
    @views.post(f"{VERSION}/infer")
    def infer(model: str, version: str | None = None) -> Response:
        until = deadline.asked(request.headers.get(deadline.HEADER), settings.predict_timeout_s)
        key = request.headers.get(KEY_HEADER)
        interface = g.interface = v2_models.find(serving, model, version, until, key)
        asked = v2_form.read(request, interface, settings)
        outputs = serving.predict(interface, asked.signature, asked.inputs, asked.within(until))
        g.version = outputs.version
        serving.capture.keep(g.request_id, interface, asked.inputs, outputs)
        return v2_answer.answer(asked, outputs, interface)

    @views.get(f"{MODEL}/", strict_slashes=False)
    @views.get(f"{VERSION}/", strict_slashes=False)
    def metadata(model: str, version: str | None = None) -> dict[str, Any]:
        interface = g.interface = v2_models.find(serving, model, version)
        return v2_models.metadata(interface, serving.states(model), request.args.get("signature_name"))

    @views.get(f"{MODEL}/ready/", strict_slashes=False)
    @views.get(f"{VERSION}/ready/", strict_slashes=False)
    def model_ready(model: str, version: str | None = None) -> tuple[dict[str, Any], int]:
        interface = g.interface = v2_models.find(serving, model, version)
        if serving.ready(interface):
            return {"name": model, "ready": True}, 200
        return {"name": model, "ready": False, "error": f"version {interface.version} of {model} is not ready"}, 503

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
        ready_only = v2_models.ready_only(payload.read(request, settings.max_json_bytes), settings.max_depth)
        seen = [model for model in serving.models() if callers.current().sees(model)]
        return v2_models.index(serving, seen, ready_only=ready_only)

    @views.post("/v2/repository/models/<model:model>/load")
    @views.post("/v2/repository/models/<model:model>/unload")
    def change(model: str) -> Response:
        raise ChangedElsewhere(
            f"which versions of {model} are loaded follows from its rollout: POST /api/jobs starts one"
        )

    return views
