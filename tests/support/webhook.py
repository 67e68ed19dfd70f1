"""A receiver of notifications: keeps what is posted, and answers as it is told to."""

import json
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PATH = "/hooks/a-secret-path"

POLL_S = 0.05


@dataclass(frozen=True)
class Post:
    """One request."""

    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]


class Receiver:
    """On a free port of loopback, in this process."""

    def __init__(self) -> None:
        self.posts: list[Post] = []
        self.answers: deque[tuple[int, Mapping[str, str]]] = deque()
        """Status and headers of the next ones; 200 afterwards."""
        self.open = threading.Event()
        """Responses wait for it."""
        self.open.set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._make_handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}{PATH}"

    def __enter__(self) -> "Receiver":
        threading.Thread(target=self._server.serve_forever, args=(POLL_S,), name="receiver", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.open.set()
        self._server.shutdown()
        self._server.server_close()

    def _make_handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # the library's name
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.posts.append(Post(self.path, dict(self.headers), body))
                receiver.open.wait()
                status, headers = receiver.answers.popleft() if receiver.answers else (200, {})
                self.send_response(status)
                for name, value in {"Content-Length": "0", **headers}.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Tests print nothing."""

        return Handler
