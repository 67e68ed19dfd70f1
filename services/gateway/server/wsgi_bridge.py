"""Converts granian's requests to PEP 3333's environment, and calls the WSGI application."""

import functools
import io
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from modelyard.services.gateway.http.body import BODY
from modelyard.services.gateway.http.headers import HeaderList, Headers

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


@dataclass
class WsgiResponse:
    """Status, headers, and chunks of the body."""

    status: int
    headers: HeaderList
    body: Iterator[bytes]
    close: Callable[[], None]


def make_environ(scope: Any, headers: Headers) -> dict[str, Any]:
    """PEP 3333's environment of a request, without its body."""
    host, _, port = scope.server.rpartition(":")
    client, _, client_port = scope.client.rpartition(":")
    environ = {
        "REQUEST_METHOD": scope.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": scope.path.encode().decode("latin-1"),
        "QUERY_STRING": scope.query_string,
        "SERVER_NAME": host,
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": f"HTTP/{scope.http_version}",
        "REMOTE_ADDR": client,
        "REMOTE_PORT": client_port,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.scheme,
        "wsgi.input": io.BytesIO(),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in headers.items():
        environ[make_environ_key(name)] = value
    return environ


@functools.lru_cache(maxsize=1024)
def make_environ_key(header: str) -> str:
    """``HTTP_X_REQUEST_ID`` for ``x-request-id``; two headers have none of the prefix (PEP 3333)."""
    key = header.upper().replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"


def make_body_environ(body: bytes) -> dict[str, Any]:
    """A body that was read, in the environment."""
    return {"CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO(body), BODY: body} if body else {}


def call_wsgi(app: Wsgi, environ: dict[str, Any]) -> WsgiResponse:
    """Runs the application up to its first chunk of body."""
    started: list[Any] = []

    def start_response(status: str, headers: HeaderList, exc_info: Any = None) -> None:
        del exc_info
        started[:] = [int(status[:3]), [(name.lower(), value) for name, value in headers]]

    body = app(environ, start_response)
    return WsgiResponse(started[0], started[1], iter(body), getattr(body, "close", lambda: None))
