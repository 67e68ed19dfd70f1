"""A server that speaks S3, as a process of its own, and a proxy before it that breaks what it is told to."""

import http.client
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Literal

from tests.support.ports import held_port
from tests.support.waiting import wait_until

REGION = "us-east-1"
KEY_ID, KEY = "a-key-of-tests", "a-secret-of-tests"
Fault = Literal["", "503", "lost request", "lost answer", "torn answer", "slow", "torn", "denied"]
Faults = Callable[[str, str], Fault]
"""What happens to a request, by method and path."""
FAULTS: tuple[Fault, ...] = ("503", "lost request", "lost answer", "torn answer", "slow")
SLOW_S = 0.2


def no_faults(_method: str, _path: str) -> Fault:
    return ""


class BreakSome:
    """Breaks a share of the requests, in each of the ways that a client must bear."""

    def __init__(self, share: float, seed: int) -> None:
        self._share, self._draw, self._lock = share, random.Random(seed), threading.Lock()

    def __call__(self, _method: str, _path: str) -> Fault:
        with self._lock:
            return self._draw.choice(FAULTS) if self._draw.random() < self._share else ""


class BreakOne:
    """Breaks the first request of a kind, and no other."""

    def __init__(self, fault: Fault, method: str, part: str) -> None:
        self._fault, self._method, self._part, self.left = fault, method, part, 1

    def __call__(self, method: str, path: str) -> Fault:
        if self.left and method == self._method and self._part in path:
            self.left -= 1
            return self._fault
        return ""


@dataclass
class S3:
    """A server with empty buckets, one for whoever asks."""

    port: int
    faults: Faults = no_faults
    stale_lists: int = 0
    """How many answers to each list are those of before."""
    requests: list[tuple[str, str, Fault]] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=count)
    _lists: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    _writing: threading.Lock = field(default_factory=threading.Lock)
    proxy_port: int = 0

    def new_bucket(self) -> str:
        """Its URL, as settings have it."""
        name = f"models-{next(self._numbers)}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("PUT", f"/{name}")
        assert connection.getresponse().status == 200
        connection.close()
        return f"s3://{name}/store"

    def reset(self) -> None:
        self.faults, self.stale_lists = no_faults, 0
        self.requests.clear()
        self._lists.clear()

    @property
    def environment(self) -> Mapping[str, str]:
        """How the library finds it."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.proxy_port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": KEY,
            "AWS_REGION": REGION,
        }

    def answer(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Mapping[str, str], bytes]:
        """What the server says. It does not check and write in one step, which S3 does: one write at a time."""
        if method == "GET" and "list-type=2" in path:
            return self._answer_list(path, headers)
        if method == "PUT":
            with self._writing:
                return self._ask(method, path, headers, body)
        return self._ask(method, path, headers, body)

    def _answer_list(self, path: str, headers: Mapping[str, str]) -> tuple[int, Mapping[str, str], bytes]:
        used, old = self._lists.get(path, (0, b""))
        if old and used < self.stale_lists:
            self._lists[path] = (used + 1, old)
            return 200, {"Content-Type": "application/xml"}, old
        status, found, body = self._ask("GET", path, headers, b"")
        self._lists[path] = (0, body)
        return status, found, body

    def _ask(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Mapping[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, dict(headers))
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()
        finally:
            connection.close()


DENIED = b"<Error><Code>AccessDenied</Code><Message>key " + KEY_ID.encode() + b" may not</Message></Error>"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    s3: S3

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.s3.faults(self.command, self.path)
        self.s3.requests.append((self.command, self.path, fault))
        if fault == "lost request":
            return self._hang_up()
        if fault == "503":
            return self._send(503, {}, b"<Error><Code>SlowDown</Code></Error>")
        if fault == "denied":
            return self._send(403, {}, DENIED)
        if fault == "slow":
            time.sleep(SLOW_S)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")}
        if fault == "torn":
            body = body[: len(body) // 2]
            headers["Content-Length"] = str(len(body))
        status, found, answer = self.s3.answer(self.command, self.path, headers, body)
        if fault == "lost answer":
            return self._hang_up()
        if fault == "torn answer":
            self._send(status, found, answer, len(answer) // 2)
            return self._hang_up()
        return self._send(status, found, answer)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve  # noqa: N815  # the names that http.server calls

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _send(self, status: int, headers: Mapping[str, str], body: bytes, sent: int | None = None) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(body))
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:sent])


class _Proxy(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Who is hung up on, and who does so."""


@contextmanager
def run_s3() -> Iterator[S3]:
    """Until the end of the block."""
    with held_port() as port:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        server = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "MOTO_S3_CUSTOM_ENDPOINTS": ""},
        )
        s3 = S3(port)
        proxy = _Proxy(("127.0.0.1", 0), type("Handler", (_Handler,), {"s3": s3}))
        s3.proxy_port = proxy.server_address[1]
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        try:
            wait_until(lambda: _is_listening(port))
            yield s3
        finally:
            proxy.shutdown()
            proxy.server_close()
            server.terminate()
            server.wait()


def _is_listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
