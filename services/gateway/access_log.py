"""Request ids, common headers, metrics and one log line for every request. Bodies are never logged."""

import random
import re
import time
from dataclasses import dataclass, field

from flask import Flask, Response, g, request
from flask.globals import request_ctx

from modelyard.services import keys, logs
from modelyard.services.gateway.auth.principal import current_principal
from modelyard.services.gateway.http.headers import HeaderList
from modelyard.services.gateway.http.paths import match_prediction
from modelyard.services.gateway.metrics import Metrics
from modelyard.services.gateway.serving.interface import Interface
from modelyard.services.tracing.spans import CURRENT_SPAN, Span, Value

log = logs.get_logger()

SECURITY_HEADERS = [
    ("x-content-type-options", "nosniff"),
    ("cache-control", "no-store"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
]
"""On every response: it is no page, is not cached, and sends no referrer to another site."""
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
SET_BY_VIEWS = frozenset({"cache-control", "content-security-policy"})
"""Headers of which a view may have set its own."""
PROBES = frozenset({"/healthz", "/metrics", "/readyz"})
"""Requested every few seconds: logged only when their status is not 200."""
OTHER, UNMATCHED = "other", "unmatched"
"""In the place of methods that are none of these, and of the rules of unknown paths."""
SERVER_ERROR = 500


@dataclass
class RequestRecord:
    """What is known of a request, for the headers of its response and its line in the log."""

    request_id: str
    model: str | None = None
    version: int | str | None = None
    """The requested one, until the one that predicts is found."""
    interface: Interface | None = None
    started: float = field(default_factory=time.perf_counter)
    span: Span | None = field(default_factory=CURRENT_SPAN.get)
    """None where nothing is traced."""

    def set_interface(self, interface: Interface) -> None:
        """Sets the version that predicts."""
        self.interface, self.model, self.version = interface, interface.model, interface.version


def watch_requests(app: Flask, metrics: Metrics) -> None:
    """Puts the following around every view, errors and unknown routes included."""

    @app.before_request
    def begin() -> None:
        named = request_ctx.request.view_args or {}
        g.request_id = choose_request_id(request_ctx.request.headers.get("X-Request-Id", ""))
        g.record = RequestRecord(g.request_id, named.get("model"), named.get("version"))
        logs.bind_request(g.request_id)
        metrics.in_flight.inc()

    @app.after_request
    def finish(response: Response) -> Response:
        rule = request.url_rule.rule if request.url_rule else UNMATCHED
        method = request.method if request.method in METHODS else OTHER
        for name, value in response_headers(g.record):
            if name not in SET_BY_VIEWS or name not in response.headers:
                response.headers.add(name, value)
        record_response(g.record, metrics, method, rule, response.status_code, current_principal().name)
        return response

    @app.teardown_request
    def end(_: BaseException | None) -> None:
        metrics.in_flight.dec()


def choose_request_id(given: str) -> str:
    """The client's id if it is harmless in logs and headers, else a new one; an API key has the form of one.

    A new one needs no secrecy. ``os.urandom`` gives up the interpreter's lock, and the loop's thread waits to get it
    back: at 32 connections that took a tenth of the gateway's CPU.
    """
    return given if REQUEST_ID.fullmatch(given) and not keys.may_hold_key(given) else f"{random.getrandbits(64):016x}"


def response_headers(record: RequestRecord) -> HeaderList:
    """The request id and ``SECURITY_HEADERS``, and which version predicted, and the kind of its training data."""
    found = [("x-request-id", record.request_id), *SECURITY_HEADERS]
    if record.interface:
        found.append(("x-model-version", str(record.version)))
        if record.interface.source:
            found.append(("x-model-data", record.interface.source))
    return found


def record_response(record: RequestRecord, metrics: Metrics, method: str, rule: str, status: int, key: str) -> None:
    """Counts a request, and writes its line: never anything of its body.

    Args:
        key: name of the API key, if there was one.
    """
    took_s = time.perf_counter() - record.started
    metrics.count_request(rule, method, status, took_s)
    if record.interface is not None and method == "POST":  # a prediction, and it is known whose
        metrics.traffic.count(record.interface.model, record.interface.version, status, took_s)
    write = log.debug if rule in PROBES and status == 200 else logs.write_soon  # noqa: PLR2004  # OK
    fields = {
        "method": method,
        "route": rule,
        "status": status,
        "ms": round(1000 * took_s, 1),
        "model": record.model,
        "version": record.version,
    }
    if key:
        fields["key"] = key
    if record.span is not None:
        fields["trace_id"] = f"{record.span.context.trace_id:032x}"
        end_span(record, record.span, method, rule, status)
    write("request", **fields, request_id=record.request_id)


def end_span(record: RequestRecord, span: Span, method: str, rule: str, status: int) -> None:
    """By OpenTelemetry's conventions for HTTP, and what the line in the log has."""
    found: dict[str, Value] = {"modelyard.request.id": record.request_id, "http.response.status_code": status}
    if rule != UNMATCHED:
        found["http.route"] = rule
    if record.model is not None:
        found["modelyard.model"] = record.model
    if record.version is not None:
        found["modelyard.version"] = record.version
    if status >= SERVER_ERROR:
        found["error.type"] = str(status)
    shown = "HTTP" if method == OTHER else method
    span.end(found, name=f"{shown} {rule}" if rule != UNMATCHED else shown, failed=status >= SERVER_ERROR)


def end_refused(metrics: Metrics, request_id: str, method: str, path: str, status: int) -> HeaderList:
    """Headers of the answer to a request that was refused before it was read: counts it, and ends its span."""
    record, shown = RequestRecord(request_id), method if method in METHODS else OTHER
    prediction = match_prediction(path) if method == "POST" else None
    metrics.count_refused((prediction and prediction.rule) or UNMATCHED, shown, status)
    if record.span is not None:
        end_span(record, record.span, shown, UNMATCHED, status)
    return response_headers(record)
