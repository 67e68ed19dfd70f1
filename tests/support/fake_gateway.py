"""As much of a gateway's job API as commands that wait for a job call. It can be ended, and started again."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.ports import free_port

JOB = {
    "id": "job-0123456789abcdef",
    "model": "neuron",
    "recipe": "quick",
    "created_at": "2026-11-29T00:00:00Z",
    "state": "running",
    "progress": {"stage": "train"},
    "result": {},
    "events": [],
    "finished_at": None,
    "waits_for": None,
}
SEARCH = {
    "id": "search-0123456789abcdef",
    "model": "neuron",
    "state": "running",
    "rungs": [],
    "created_at": "2026-11-29T00:00:00Z",
    "finished_at": None,
}


class FakeGateway:
    """One job and one search; both run until ``end``."""

    def __init__(self) -> None:
        self.port = free_port()
        self.job, self.search = dict(JOB), dict(SEARCH)
        self.asked: list[str] = []
        """Method and path of every request."""
        self.keys: list[str | None] = []
        """Idempotency keys of submissions."""
        self.failures = 0
        """Submissions that are yet to be answered with 503."""
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def end(self, state: str, **result: Any) -> None:
        """Ends the job."""
        self.job |= {"state": state, "result": result, "finished_at": "2026-11-29T00:00:00Z"}

    def start(self) -> None:
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._respond(200)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                gateway.keys.append(self.headers.get("Idempotency-Key"))
                gateway.failures -= 1
                self._respond(503 if gateway.failures >= 0 else 202)

            def _respond(self, status: int) -> None:
                gateway.asked.append(f"{self.command} {self.path}")
                body = json.dumps(gateway.search if "searches" in self.path else gateway.job).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        assert self._server
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> "FakeGateway":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
