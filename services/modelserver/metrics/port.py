"""The port of the metrics: one path, read only, without TLS. Nothing else is answered there."""

import socket
import threading
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.simple_server import make_server

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from modelyard.services.metrics.server import Handler, MetricsPortTaken, Server
from modelyard.services.modelserver.metrics.page import Page

READ = ("GET", "HEAD")


class Server6(Server):
    """On an address of IPv6."""

    address_family = socket.AF_INET6


class MetricsPort:
    """Takes the port at once; answers from ``open`` on."""

    def __init__(self, host: str, port: int, path: str, page: Page) -> None:
        """Raises ``MetricsPortTaken``."""
        kind = Server6 if ":" in host else Server
        try:
            self._server = make_server(host, port, make_application(path, page.render), kind, Handler)
        except OSError as error:
            raise MetricsPortTaken(
                f"cannot show metrics on {host}:{port}: {error.strerror}; choose another --rest_api_port"
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)

    @property
    def number(self) -> int:
        return self._server.server_port

    def open(self) -> None:
        self._thread.start()

    def close(self, over: threading.Event) -> None:
        """Closes the port once calls in flight are over: until then they are counted, and shown."""
        threading.Thread(target=self._close, args=(over,), name="metrics-end", daemon=True).start()

    def _close(self, over: threading.Event) -> None:
        over.wait()
        if self._thread.ident is not None:
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


def make_application(path: str, render: Callable[[], bytes]) -> Callable[..., Iterable[bytes]]:
    """404 for any other path, and 405 for whoever would write."""

    def respond(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] != path:
            status, kind, body = "404 Not Found", "text/plain", f"metrics are at {path}\n".encode()
        elif environ["REQUEST_METHOD"] not in READ:
            status, kind, body = "405 Method Not Allowed", "text/plain", b"expected GET\n"
        else:
            status, kind, body = "200 OK", CONTENT_TYPE_PLAIN_0_0_4, render()
        start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]

    return respond
