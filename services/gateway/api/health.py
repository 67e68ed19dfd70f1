"""Is the process alive, is it ready, which release is it, and its metrics."""

import importlib.metadata
from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, current_app
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from modelyard.models.errors import ModelyardError
from modelyard.services.gateway.auth import principal as callers
from modelyard.services.gateway.auth.guard import Door
from modelyard.services.gateway.auth.permissions import Permission
from modelyard.services.gateway.http.errors import ServableNotFound
from modelyard.services.gateway.http.paths import Servable
from modelyard.services.gateway.metrics import Metrics
from modelyard.services.gateway.serving.predictor import Predictor


class Readiness:
    """Whether predictions would be answered."""

    def __init__(self, predictor: Predictor, draining: Callable[[], bool], door: Door | None = None) -> None:
        """``draining``: whether the process has been told to stop."""
        self._predictor, self._draining, self._door = predictor, draining, door

    def reasons(self) -> list[str]:
        """Why they would not; empty if they would. Models are named to those only who may know of them."""
        if self._draining():
            return ["shutting down"]
        if self._door and self._door.keyring.unread:
            return ["API keys have not been read from the ledger yet"]
        found, caller = obstacles(self._predictor), callers.current()
        if found and (caller.scope is not None or not caller.may(Permission.DESCRIBE)):
            return ["shown with an API key for all models"]
        return found


def routes(predictor: Predictor, metrics: Metrics, not_ready: Callable[[], list[str]]) -> Blueprint:
    """Probes and metrics. ``not_ready``: why no prediction would be answered."""
    views = Blueprint("health", __name__)

    @views.get("/healthz")
    def live() -> dict[str, Any]:
        return {"live": True}  # depends on nothing: a restart would not help what is missing

    @views.get("/readyz")
    def ready() -> tuple[dict[str, Any], int]:
        reasons = not_ready()
        return ({"ready": False, "reasons": reasons}, 503) if reasons else ({"ready": True}, 200)

    @views.get("/metrics")
    def scrape() -> Response:
        if predictor.capture.models:
            metrics.set_drift(predictor.canary_counts.drift())
        return Response(generate_latest(metrics.registry), content_type=CONTENT_TYPE_LATEST)

    @views.get("/version")
    def version() -> dict[str, Any]:
        return {"name": "modelyard", "version": importlib.metadata.version("modelyard")}

    @views.get("/")
    def index() -> dict[str, Any]:
        rules = sorted(current_app.url_map.iter_rules(), key=lambda rule: rule.rule)
        shown = [(method_of(rule.methods), rule.rule) for rule in rules if rule.endpoint != "static"]
        return {"routes": [f"{method} {path}" for method, path in shown if method]}

    return views


def obstacles(predictor: Predictor) -> list[str]:
    """Why no prediction can be answered; empty if at least one model's stable version can."""
    found = []
    for model in predictor.models():
        try:
            interface = predictor.interface(Servable(model))
            if predictor.is_ready(interface):
                return []
            state = predictor.states(model).get(interface.version, "not loaded")
            found.append(f"{model} version {interface.version} is {state}")
        except ServableNotFound as error:
            found.append(str(error))
        except ModelyardError as error:
            return [*found, str(error)]
    return found or ["no model has a stable version yet"]


def method_of(methods: set[str] | None) -> str:
    return " or ".join(sorted((methods or set()) - {"HEAD", "OPTIONS"}))
