"""What every request gets: an id, its headers, its metrics and one line in the log. Bodies are never logged."""

import os
import re
import time

import structlog
from flask import Flask, Response, g, request

from modelyard.services import keys, logs
from modelyard.services.gateway.auth import principal as callers
from modelyard.services.gateway.metrics import Metrics
from modelyard.services.gateway.serving.interface import Interface

log = logs.get_logger()

STRICT = [
    ("x-content-type-options", "nosniff"),
    ("cache-control", "no-store"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
]
"""On every answer: nothing of it is a page, is kept, or tells another site where a reader came from."""
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
A_VIEWS_OWN = frozenset({"cache-control", "content-security-policy"})
"""Headers about which a view may have said otherwise."""
PROBES = frozenset({"/healthz", "/metrics", "/readyz"})
"""Asked every few seconds: logged only when they do not answer 200."""


def watch(app: Flask, metrics: Metrics) -> None:
    """Puts the following around every view, errors and unknown routes included."""

    @app.before_request
    def begin() -> None:
        g.started = time.perf_counter()
        g.request_id = identity = request_id(request.headers.get("X-Request-Id", ""))
        structlog.contextvars.bind_contextvars(request_id=identity)
        metrics.in_flight.inc()

    @app.after_request
    def finish(response: Response) -> Response:
        asked, took_s = request._get_current_object(), time.perf_counter() - g.started  # type: ignore[attr-defined]  # noqa: SLF001  # Werkzeug's documented way past the proxy
        rule = asked.url_rule.rule if asked.url_rule else "unmatched"
        method = asked.method if asked.method in METHODS else "other"
        set_headers(response)
        metrics.answered(rule, method, response.status_code, took_s)
        interface, named = g.get("interface"), asked.view_args or {}
        model = interface.model if interface else named.get("model")
        version = g.get("version", interface.version if interface else named.get("version"))
        key = callers.current().name
        write_line(response.status_code, method, rule, took_s, model, version, g.request_id, key)
        return response

    @app.teardown_request
    def end(_: BaseException | None) -> None:
        metrics.in_flight.dec()


def request_id(given: str) -> str:
    """The caller's id if it is harmless in logs and headers, else a new one; an API key has the form of one."""
    return given if REQUEST_ID.fullmatch(given) and keys.MARK not in given else os.urandom(8).hex()


def set_headers(response: Response) -> None:
    """As ``headers_of``, but for what a view has said otherwise."""
    interface = g.get("interface")
    version = g.get("version", interface.version if interface else None)
    for name, value in headers_of(g.request_id, interface, version):
        if name not in A_VIEWS_OWN or name not in response.headers:
            response.headers.add(name, value)


def headers_of(request_id: str, interface: Interface | None, version: int | None) -> list[tuple[str, str]]:
    """``x-request-id`` and ``STRICT`` on all, and which version answered, trained on what, where one did."""
    found = [("x-request-id", request_id), *STRICT]
    if interface:
        found.append(("x-model-version", str(version)))
        if interface.source:
            found.append(("x-model-data", interface.source))
    return found


def write_line(
    status: int,
    method: str,
    rule: str,
    took_s: float,
    model: str | None,
    version: int | None,
    request_id: str,
    key: str,
) -> None:
    """One line per request; never anything of its body.

    Args:
        key: the name of the caller's, if there was one.
    """
    write = log.debug if rule in PROBES and status == 200 else logs.write_soon  # noqa: PLR2004  # OK
    ms = round(1000 * took_s, 1)
    said = {"method": method, "route": rule, "status": status, "ms": ms, "model": model, "version": version}
    if key:
        said["key"] = key
    write("request", **said, request_id=request_id)
