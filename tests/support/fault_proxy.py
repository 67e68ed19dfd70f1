"""Stands between a client and a gateway, and breaks what the next connections say."""

import socket
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

CHUNK = 65_536
PAUSE_S = 0.05
HEAD_END = b"\r\n\r\n"


@dataclass(frozen=True)
class Answers:
    """An answer of the proxy's own; the gateway hears nothing."""

    status: int
    headers: str = ""
    body: str = '{"error": "on purpose"}'

    def encode(self) -> bytes:
        head = f"HTTP/1.1 {self.status} X\r\nContent-Length: {len(self.body)}\r\nConnection: close\r\n{self.headers}"
        return f"{head}\r\n{self.body}".encode()


@dataclass(frozen=True)
class Closes:
    """The connection ends before any answer; the gateway hears nothing."""


@dataclass(frozen=True)
class Cuts:
    """The connection ends behind these words of the answer."""

    after: bytes


@dataclass(frozen=True)
class Silent:
    """Nothing is ever answered."""


@dataclass(frozen=True)
class Trickles:
    """The answer comes a byte at a time, each in time."""


Fault = Answers | Closes | Cuts | Silent | Trickles


class FaultProxy:
    """One fault for each of the next connections; then it passes everything on, one request per connection."""

    def __init__(self, port: int) -> None:
        self._target = port
        self.faults: deque[Fault] = deque()
        self.requests: list[str] = []
        """Head of the first request of each connection."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._held: list[socket.socket] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        for each in self._held:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._held.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError):
            request = read_request(client)
            if not request:
                return
            self.requests.append(request.partition(HEAD_END)[0].decode())
            fault = self.faults.popleft() if self.faults else None
            if isinstance(fault, Answers):
                client.sendall(fault.encode())
            if isinstance(fault, Answers | Closes):
                close(client)
            elif isinstance(fault, Trickles):
                trickle(client)
            elif not isinstance(fault, Silent):
                self._pass_on(request, client, fault)

    def _pass_on(self, request: bytes, client: socket.socket, fault: Cuts | None) -> None:
        head, _, body = request.partition(HEAD_END)
        with socket.create_connection(("127.0.0.1", self._target)) as gateway:
            gateway.sendall(head + b"\r\nConnection: close" + HEAD_END + body)
            sent, end = b"", -1
            while end < 0 and (chunk := gateway.recv(CHUNK)):
                seen = sent + chunk
                end = seen.find(fault.after) if fault else -1
                kept = seen if fault is None or end < 0 else seen[: end + len(fault.after)]
                client.sendall(kept[len(sent) :])
                sent = kept
        close(client)


def trickle(client: socket.socket) -> None:
    """Until the client has left."""
    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        client.sendall(b" ")
        time.sleep(PAUSE_S)


def close(client: socket.socket) -> None:
    client.shutdown(socket.SHUT_RDWR)
    client.close()


def read_request(client: socket.socket) -> bytes:
    """One request, whose body has a length; empty if the client has left."""
    found = b""
    while HEAD_END not in found:
        chunk = client.recv(CHUNK)
        if not chunk:
            return b""
        found += chunk
    head, _, body = found.partition(HEAD_END)
    lines = [line.partition(b":") for line in head.lower().split(b"\r\n")]
    length = next((int(value) for name, _, value in lines if name == b"content-length"), 0)
    while len(body) < length:
        body += client.recv(CHUNK)
    return head + HEAD_END + body
