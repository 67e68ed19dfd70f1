"""Liveness, readiness, release, routes and metrics of the process."""

import importlib.metadata
from collections.abc import Callable
from typing import ClassVar, Literal

from flask import Blueprint, Response, current_app
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import Field

from modelyard.models.errors import ModelyardError
from modelyard.services.gateway.auth.guard import Guard
from modelyard.services.gateway.auth.permissions import Permission
from modelyard.services.gateway.auth.principal import current_principal
from modelyard.services.gateway.http.errors import ServableNotFound
from modelyard.services.gateway.http.json_body import Body
from modelyard.services.gateway.http.operation import Operation, describe_view, json_view
from modelyard.services.gateway.http.paths import Servable
from modelyard.services.gateway.metrics import Metrics
from modelyard.services.gateway.serving.predictor import Predictor
from modelyard.services.ledger import Ledger


class Alive(Body):
    """The process answers."""

    live: Literal[True]


class Ready(Body):
    """Predictions would be answered."""

    ready: Literal[True]


class NotReady(Body):
    """Why predictions would not be answered."""

    http_status: ClassVar[int] = 503

    ready: Literal[False]
    reasons: list[str] = Field(min_length=1)


class Release(Body):
    """Name and version."""

    name: str
    version: str


class Routes(Body):
    """Methods and paths."""

    routes: list[str]


class Readiness:
    """Whether predictions would be answered."""

    def __init__(self, predictor: Predictor, draining: Callable[[], bool], guard: Guard | None = None) -> None:
        """``draining``: whether the process is shutting down."""
        self._predictor, self._draining, self._guard = predictor, draining, guard

    def reasons(self) -> list[str]:
        """Why the process is not ready; empty if it is. Models are named only to principals that may see them."""
        if self._draining():
            return ["shutting down"]
        if self._guard and self._guard.key_cache.is_unread:
            return ["API keys have not been read from the ledger yet"]
        found, principal = find_obstacles(self._predictor), current_principal()
        if found and (principal.visible_models is not None or not principal.may(Permission.READ_MODELS)):
            return ["shown with an API key for all models"]
        return found


def routes(predictor: Predictor, metrics: Metrics, ledger: Ledger, not_ready: Callable[[], list[str]]) -> Blueprint:
    """Probes and metrics. ``not_ready``: why no prediction would be answered."""
    views = Blueprint("health", __name__)

    @views.get("/healthz")
    @json_view()
    def live() -> Alive:
        """Whether the process answers."""
        return Alive(live=True)  # depends on nothing: a restart would not help what is missing

    @views.get("/readyz")
    @json_view()
    def ready() -> Ready | NotReady:
        """Whether predictions would be answered."""
        reasons = not_ready()
        return NotReady(ready=False, reasons=reasons) if reasons else Ready(ready=True)

    @views.get("/metrics")
    @views.get("/monitoring/prometheus/metrics", endpoint="read_metrics_as_tensorflow_serving")
    @describe_view(Operation("Metrics in Prometheus' form.", {200: {"text/plain": None}}))
    def read_metrics() -> Response:
        if predictor.capture.models:
            metrics.set_drift(ledger.observations.list_drift())
        return Response(generate_latest(metrics.registry), content_type=CONTENT_TYPE_LATEST)

    @views.get("/version")
    @json_view()
    def get_version() -> Release:
        """Name and release."""
        return Release(name="modelyard", version=importlib.metadata.version("modelyard"))

    @views.get("/")
    @json_view()
    def list_routes() -> Routes:
        """Every route."""
        rules = sorted(current_app.url_map.iter_rules(), key=lambda rule: rule.rule)
        found = [(choose_method(rule.methods), rule.rule) for rule in rules if rule.endpoint != "static"]
        return Routes(routes=[f"{method} {path}" for method, path in found if method])

    return views


def find_obstacles(predictor: Predictor) -> list[str]:
    """Why no prediction can be answered; empty if at least one model's stable version can."""
    found = []
    for model in predictor.list_models():
        try:
            interface = predictor.wait_for_interface(Servable(model))
            if predictor.is_ready(interface):
                return []
            state = predictor.get_states(model).get(interface.version, "not loaded")
            found.append(f"{model} version {interface.version} is {state}")
        except ServableNotFound as error:
            found.append(str(error))
        except ModelyardError as error:
            return [*found, str(error)]
    return found or ["no model has a stable version yet"]


def choose_method(methods: set[str] | None) -> str:
    return " or ".join(sorted((methods or set()) - {"HEAD", "OPTIONS"}))
