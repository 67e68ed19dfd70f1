"""Liveness, readiness, release, routes and metrics of the process."""

import importlib.metadata
from collections.abc import Callable
from contextlib import suppress
from typing import ClassVar, Literal

from flask import Blueprint, Response, current_app
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import Field

from modelyard.models.errors import StorageFailed
from modelyard.services.gateway.api.model_readiness import Report, read_report
from modelyard.services.gateway.api.queue_state import QueueWatch
from modelyard.services.gateway.auth.guard import Guard
from modelyard.services.gateway.auth.permissions import Permission
from modelyard.services.gateway.auth.principal import current_principal
from modelyard.services.gateway.http.json_body import Body
from modelyard.services.gateway.http.operation import Operation, describe_view, json_view
from modelyard.services.gateway.metrics import Metrics
from modelyard.services.gateway.serving.predictor import Predictor
from modelyard.services.ledger import Ledger


class Alive(Body):
    """The process answers."""

    live: Literal[True]


class Ready(Body):
    """Predictions would be answered; ``details`` say what is wrong all the same, if anything is."""

    ready: Literal[True]
    details: list[str] = Field([], min_length=1)


class NotReady(Body):
    """Why predictions would not be answered."""

    http_status: ClassVar[int] = 503

    ready: Literal[False]
    reasons: list[str] = Field(min_length=1)
    details: list[str] = Field([])


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
        """Why the process is not ready; empty if it is."""
        return self.read().reasons

    def read(self) -> Report:
        """Why the process is not ready, or what is wrong although it is.

        Models are named only to principals that may see them.
        """
        if self._draining():
            return Report(["shutting down"], [])
        if self._guard and self._guard.key_cache.is_unread:
            return Report(["API keys have not been read from the ledger yet"], [])
        found = read_report(self._predictor)
        if not may_for_all(Permission.READ_MODELS):
            return Report(*(lines and ["shown with an API key for all models"] for lines in found))
        return found


def may_for_all(permission: Permission) -> bool:
    """Whether the principal has a permission for all models."""
    principal = current_principal()
    return principal.visible_models is None and principal.may(permission)


def routes(
    predictor: Predictor, metrics: Metrics, ledger: Ledger, queue: QueueWatch, readiness: Readiness
) -> Blueprint:
    """Probes and metrics."""
    views = Blueprint("health", __name__)

    @views.get("/healthz")
    @json_view()
    def live() -> Alive:
        """Whether the process answers."""
        return Alive(live=True)  # depends on nothing: a restart would not help what is missing

    @views.get("/readyz")
    @json_view(exclude_unset=True)
    def ready() -> Ready | NotReady:
        """Whether predictions would be answered."""
        reasons, details = readiness.read()
        state = queue.read() if may_for_all(Permission.READ) else None
        details = [*details, *(state.describe() if state else ())]
        more = {"details": details} if details else {}
        return NotReady(ready=False, reasons=reasons, **more) if reasons else Ready(ready=True, **more)

    @views.get("/metrics")
    @views.get("/monitoring/prometheus/metrics", endpoint="read_metrics_as_tensorflow_serving")
    @describe_view(Operation("Metrics in Prometheus' form.", {200: {"text/plain": None}}))
    def read_metrics() -> Response:
        state = queue.read()
        if predictor.capture.models and not queue.is_ledger_away:
            with suppress(StorageFailed):  # the alert that it is away is one of these metrics
                metrics.set_drift(ledger.observations.list_drift())
        metrics.set_left_out(predictor.list_left_out())
        metrics.set_queue((state.workers, state.waiting, state.without_worker) if state else None)
        return Response(metrics.render(), content_type=CONTENT_TYPE_LATEST)

    @views.get("/version")
    @json_view()
    def get_release() -> Release:
        """Name and release."""
        return Release(name="modelyard", version=importlib.metadata.version("modelyard"))

    @views.get("/api")
    @json_view()
    def list_routes() -> Routes:
        """Every route."""
        rules = sorted(current_app.url_map.iter_rules(), key=lambda rule: rule.rule)
        found = [(choose_method(rule.methods), rule.rule) for rule in rules if rule.endpoint != "static"]
        return Routes(routes=[f"{method} {path}" for method, path in found if method])

    return views


def choose_method(methods: set[str] | None) -> str:
    return " or ".join(sorted((methods or set()) - {"HEAD", "OPTIONS"}))
