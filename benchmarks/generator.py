"""A cheap load generator in this process: raw HTTP/1.1 over epoll, prebuilt requests, one thread.

Unlike ``benchmarks.serving.load`` it leaves every answer, refusals too, to a judge, and takes each request from a
source that may change its mind. Latencies of an open loop count from the moment at which a request was due.
"""

import gc
import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from benchmarks.serving.answers import parse

GRACE_S = 3.0
"""How long the last answers are waited for."""
MAX_POLL_S = 0.05
CONNECT_S = 0.02
"""On one machine a connection takes a fraction of a millisecond, or the backlog is full."""
CONNECT_AGAIN_S = 0.1
RECEIVED_AT_ONCE = 65_536


@dataclass(frozen=True)
class Answer:
    """What came back for one request."""

    key: Any
    """The source's own."""
    status: int
    head: bytes
    """Status line and headers, in small letters."""
    body: bytes
    due: float
    done: float

    @property
    def latency_s(self) -> float:
        return self.done - self.due


Source = Callable[[], tuple[Any, bytes]]
"""The next request: a key, and its bytes."""
Judge = Callable[[Answer], None]


@dataclass(eq=False)
class Connection:
    """One socket and the request that it carries, if any."""

    sock: socket.socket
    key: Any = None
    due: float = 0.0
    busy: bool = False
    received: bytearray = field(default_factory=bytearray)


class Generator:
    """Sends and receives until it is stopped."""

    def __init__(self, port: int, connections: int, source: Source, judge: Judge) -> None:
        self._port, self._most, self._source, self._judge = port, connections, source, judge
        self._poll = select.epoll()
        self._connections: dict[int, Connection] = {}
        self._idle: list[Connection] = []
        self.failures: list[str] = []
        """Requests without an answer."""
        self.sent = 0
        self.unconnected = 0
        """How often the server took no connection."""
        self._connect_at = 0.0

    def run(self, stop: Callable[[], bool], rate: float | None = None) -> float:
        """A closed loop over all connections, or an open one at ``rate`` per second. Returns how long it sent, in s."""
        started = due = time.perf_counter()
        with garbage_collection_paused():
            while not stop():
                due = self._send_due(due, rate)
                self._receive_all(MAX_POLL_S if rate is None else due - time.perf_counter())
            took = time.perf_counter() - started
            give_up = time.perf_counter() + GRACE_S
            while len(self._idle) < len(self._connections) and time.perf_counter() < give_up:
                self._receive_all(MAX_POLL_S)
        self._end()
        return took

    def _send_due(self, due: float, rate: float | None) -> float:
        """Sends what is due, as far as connections allow; returns when the next one is."""
        now = time.perf_counter()
        while (rate is None or due <= now) and (connection := self._take()):
            self._send(connection, now if rate is None else due)
            due += 1 / rate if rate else 0.0
        return due

    def _take(self) -> Connection | None:
        """An idle connection, the most recently used first, or a new one while there may be more."""
        if not self._idle and len(self._connections) < self._most:
            self._try_to_connect()
        return self._idle.pop() if self._idle else None

    def _send(self, connection: Connection, due: float) -> None:
        connection.key, request = self._source()
        connection.due, connection.busy = due, True
        self.sent += 1
        try:
            connection.sock.sendall(request)
        except OSError as error:
            self._failed(connection, type(error).__name__)

    def _receive_all(self, timeout_s: float) -> None:
        for number, _ in self._poll.poll(min(max(timeout_s, 0.0), MAX_POLL_S)):
            if connection := self._connections.get(number):
                self._receive(connection)

    def _receive(self, connection: Connection) -> None:
        try:
            data = connection.sock.recv(RECEIVED_AT_ONCE)
            connection.received += data
            response = parse(connection.received)
        except (OSError, ValueError) as error:
            self._failed(connection, type(error).__name__)
            return
        if response is None:
            if not data:
                self._failed(connection, "closed by the server")
            return
        head = bytes(connection.received.partition(b"\r\n\r\n")[0]).lower()
        key, due = connection.key, connection.due
        if response.closes:
            self._drop(connection)
        else:
            connection.busy = False
            connection.received.clear()
            self._idle.append(connection)
        self._judge(Answer(key, response.status, head, response.body, due, time.perf_counter()))

    def _failed(self, connection: Connection, text: str) -> None:
        if connection.busy:
            self.failures.append(text)
        else:
            self._idle.remove(connection)
        self._drop(connection)

    def _try_to_connect(self) -> None:
        """One more connection, unless the server's backlog is full: then it is tried again a moment later."""
        now = time.perf_counter()
        if now < self._connect_at:
            return
        try:
            sock = socket.create_connection(("127.0.0.1", self._port), timeout=CONNECT_S)
        except OSError:
            self.unconnected += 1
            self._connect_at = time.perf_counter() + CONNECT_AGAIN_S
            return
        sock.settimeout(10)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = self._connections[sock.fileno()] = Connection(sock)
        self._poll.register(sock.fileno(), select.EPOLLIN)
        self._idle.append(connection)

    def _drop(self, connection: Connection) -> None:
        self._poll.unregister(connection.sock.fileno())
        del self._connections[connection.sock.fileno()]
        connection.sock.close()

    def _end(self) -> None:
        for connection in list(self._connections.values()):
            if connection.busy:
                self.failures.append("no answer at the end")
            self._drop(connection)
        self._idle.clear()
        self._poll.close()


@contextmanager
def garbage_collection_paused() -> Iterator[None]:
    """The garbage collector does not run: a pause of ours would count as one of the server's."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def for_seconds(seconds: float) -> Callable[[], bool]:
    """Whether the time is up, counted from now."""
    end = time.perf_counter() + seconds
    return lambda: time.perf_counter() >= end
