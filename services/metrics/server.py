"""Metrics of a process that has no HTTP of its own, for Prometheus: on a port that is off unless it is set.

prometheus_client's application, behind a token wherever other machines can connect.
"""

import hmac
import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import structlog
from pydantic import Field, ValidationInfo, field_validator

from modelyard.models.errors import ModelyardError
from modelyard.services.settings import Secret, Settings, is_loopback

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

log = structlog.get_logger()

Application = Callable[..., Iterable[bytes]]
READ_TIMEOUT_S = 10
REFUSED = b"expected Authorization: Bearer, with the token of MODELYARD_METRICS_TOKEN\n"


class MetricsPortTaken(ModelyardError):
    """The address of the metrics cannot be listened on."""


class Server(ThreadingMixIn, WSGIServer):
    """A thread for each request."""

    daemon_threads = True


class Handler(WSGIRequestHandler):
    """Logs nothing, and waits for nobody for long."""

    timeout = READ_TIMEOUT_S

    def log_message(self, *_: object) -> None:
        """Of each request there would be a line."""


class MetricsSettings(Settings):
    """Where a process shows its metrics."""

    metrics_port: int = Field(0, ge=0, le=65535, description="Port of its metrics for Prometheus; 0: none.")
    metrics_token: Secret | None = Field(
        None, description="Bearer token that Prometheus sends for them; needed unless only this machine can connect."
    )
    metrics_host: str = Field(
        "127.0.0.1", description="Address of that port; only loopback, unless MODELYARD_METRICS_TOKEN is set."
    )

    @field_validator("metrics_host")
    @classmethod
    def _protected(cls, host: str, before: ValidationInfo) -> str:
        if not is_loopback(host) and not before.data.get("metrics_token"):
            raise ValueError(
                f"{host!r} can be reached from other machines: set MODELYARD_METRICS_TOKEN "
                "(`openssl rand -hex 32`), or listen on 127.0.0.1"
            )
        return host


def serve_metrics(settings: MetricsSettings, registry: "CollectorRegistry") -> None:
    """Serves a registry in a thread of its own until the process ends; nothing without a port.

    Raises:
        MetricsPortTaken: the text has the remedy.
    """
    if not settings.metrics_port:
        return
    from prometheus_client import make_wsgi_app

    token = settings.metrics_token.get_secret_value() if settings.metrics_token else None
    application = require_token(make_wsgi_app(registry), token)
    try:
        server = make_server(settings.metrics_host, settings.metrics_port, application, Server, Handler)
    except OSError as error:
        raise MetricsPortTaken(
            f"cannot show metrics on {settings.metrics_host}:{settings.metrics_port}: {error.strerror}; "
            "choose another port with MODELYARD_METRICS_PORT, for each process one"
        ) from error
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    log.info("metrics", port=settings.metrics_port)


def require_token(application: Application, token: str | None) -> Application:
    """401 for whoever does not send it; the application itself if there is none."""
    if token is None:
        return application
    expected = f"Bearer {token}".encode()

    def respond(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        given = environ.get("HTTP_AUTHORIZATION", "").encode("utf-8", "replace")
        if hmac.compare_digest(given, expected):
            return application(environ, start_response)
        start_response("401 Unauthorized", [("WWW-Authenticate", "Bearer"), ("Content-Type", "text/plain")])
        return [REFUSED]

    return respond
