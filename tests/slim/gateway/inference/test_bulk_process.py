"""JSON lines through a gateway in a process of its own: constant memory, slow readers, clients that disconnect."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPResponse, IncompleteRead
from typing import Any

import httpx
import psutil
import pytest

from modelyard.models.registry.manifest import SignatureSpec, TensorSpec, VectorLimits
from modelyard.models.registry.store import Store
from tests.slim.gateway.test_process import PREDICT
from tests.support.fakes import HALF_PLUS, FakeModelServer, publish
from tests.support.slim_programs import GatewayProcess, gateway
from tests.support.waiting import wait_until

WIDTH, LINES = 100, 20_000
"""Numbers of a row, and rows: of single numbers, many more would be needed to fill what lies between."""
HEAD = f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/jsonl\r\n".encode()
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
Running = contextlib.AbstractContextManager[tuple[GatewayProcess, httpx.Client]]
GROWTH = 24 * 1024 * 1024
"""What a process may grow by, whatever passes through."""


def start_gateway(store: Store, server: FakeModelServer, **settings: object) -> Running:
    return gateway(store=store.root, serving=server.address, **settings)


@pytest.fixture(scope="module")
def client(shared_store: Store, shared_server: FakeModelServer) -> Iterator[httpx.Client]:
    """Of a gateway for all tests that neither measure nor set it."""
    with start_gateway(shared_store, shared_server) as (_, found):
        yield found


@contextlib.contextmanager
def connected(client: httpx.Client, *, timeout_s: float = 60, receives: int | None = None) -> Iterator[socket.socket]:
    with socket.socket() as connection:
        if receives:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives)
        connection.settimeout(timeout_s)
        connection.connect(("127.0.0.1", client.base_url.port or 0))
        yield connection


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(content), content)


def received(connection: socket.socket) -> bytes:
    """The answer's body; raises ``IncompleteRead`` if it does not come to its end."""
    with HTTPResponse(connection) as answer:
        answer.begin()
        return answer.read()


@pytest.fixture
def wide(filled: Store, server: FakeModelServer) -> Store:
    """The third version takes and returns rows of many numbers."""
    taken, returned = (TensorSpec(name=name, dtype="float32", shape=(None, WIDTH)) for name in ("vectors", "value"))
    signatures = {"serving_default": SignatureSpec(inputs=(taken,), outputs=(returned,))}
    publish(filled, HALF_PLUS, input=VectorLimits(size=WIDTH), signatures=signatures, example=[1.0] * WIDTH)
    server.reset()
    return filled


def row(number: float | str) -> bytes:
    """One line."""
    return b"[" + b",".join([str(number).encode()] * WIDTH) + b"]\n"


def test_many_lines_pass_through_in_constant_memory(wide: Store, server: FakeModelServer) -> None:
    """Sent and read at once; every answer is right and in its place."""
    with start_gateway(wide, server) as (process, client):
        measured = psutil.Process(process.pid)
        client.post(PREDICT, json={"instances": [[1.0] * WIDTH]})
        before = measured.memory_info().rss
        with connected(client) as connection:
            sender = threading.Thread(target=send, args=(connection, LINES))
            connection.sendall(CHUNKED)
            sender.start()
            body = received(connection)
            sender.join()
        assert body == b"".join(row(number / 2 + 3) for number in range(LINES))
        assert measured.memory_info().rss - before < GROWTH


def send(connection: socket.socket, count: int) -> None:
    for start in range(0, count, 1000):
        connection.sendall(chunk(b"".join(row(number) for number in range(start, min(count, start + 1000)))))
    connection.sendall(END)


def test_a_client_that_does_not_read_is_not_read_either(wide: Store, server: FakeModelServer) -> None:
    """Nothing gathers in memory; interactive requests go on; the connection ends, and not as if it were whole."""
    with (
        start_gateway(wide, server, body_timeout_s=2) as (process, client),
        connected(client, timeout_s=1, receives=4096) as connection,
    ):
        measured = psutil.Process(process.pid)
        client.post(PREDICT, json={"instances": [[1.0] * WIDTH]})
        before, calls = measured.memory_info().rss, len(server.calls)
        connection.sendall(CHUNKED)
        with pytest.raises((TimeoutError, ConnectionError)):
            connection.sendall(chunk(row(1.0) * 500) * 400)
        assert client.post(PREDICT, json={"instances": [[1.0] * WIDTH]}).status_code == 200
        assert measured.memory_info().rss - before < GROWTH
        assert (len(server.calls) - calls) * 64 < 200_000 / 2
        port = connection.getsockname()[1]
        wait_until(lambda: not has_connection(measured, lambda found: found.raddr and found.raddr.port == port))
        connection.settimeout(60)
        with pytest.raises((IncompleteRead, ConnectionError)):
            received(connection)


def test_nothing_more_is_predicted_for_a_client_that_disconnects(filled: Store, server: FakeModelServer) -> None:
    """Neither in the middle of the body nor while answers are on the way."""
    with start_gateway(filled, server) as (process, client):
        for _ in range(5):
            with connected(client) as connection:
                connection.sendall(CHUNKED + chunk(b"[1]\n" * 10_000 + b"[2"))
                connection.recv(1)
        wait_until_quiet(server)
        assert client.post(PREDICT, json={"instances": [[1.0]]}).json() == {"predictions": [[2.5]]}
        measured = psutil.Process(process.pid)  # each closes what its other side has closed
        wait_until(lambda: not has_connection(measured, lambda found: found.status == "CLOSE_WAIT"))


def has_connection(process: psutil.Process, such: Callable[[Any], Any]) -> bool:
    return any(map(such, process.net_connections()))


def wait_until_quiet(server: FakeModelServer) -> None:
    """Until the model gets no more calls."""
    seen = -1
    while seen != len(server.calls):
        seen = len(server.calls)
        time.sleep(0.3)


def test_results_come_while_lines_are_still_being_sent(client: httpx.Client) -> None:
    """A line on its own does not wait for others."""
    with connected(client) as connection:
        connection.sendall(CHUNKED)
        for number in range(3):
            connection.sendall(chunk(b"[%d]\n" % number))
            expected = b"[%.1f]\n" % (number / 2 + 2)
            assert expected in received_until(connection, expected)
        connection.sendall(END)
        assert received_until(connection, END).endswith(END)


def received_until(connection: socket.socket, end: bytes) -> bytes:
    """What comes until these bytes have, or the connection is closed."""
    found = b""
    while end not in found and (received := connection.recv(1 << 16)):
        found += received
    return found


def test_a_body_that_stalls_ends_with_an_error(filled: Store, server: FakeModelServer) -> None:
    """What had arrived gets its results; the response does not pass for a whole one."""
    with start_gateway(filled, server, body_timeout_s=2) as (_, client):
        with connected(client) as connection:
            connection.sendall(CHUNKED + chunk(b"[1]\n[2"))
            body = received_part(connection)
        assert body == b'[2.5]\n{"error":"expected the next chunk of the body within 2 s","line":2}\n'


def received_part(connection: socket.socket) -> bytes:
    """The answer's body, which must break off."""
    with HTTPResponse(connection) as answer:
        answer.begin()
        with pytest.raises(IncompleteRead) as broken:
            answer.read()
    return bytes(broken.value.partial)


@pytest.mark.parametrize(
    ("head", "sent"),
    [
        (CHUNKED, chunk(b"[1]\n[2")),
        (CHUNKED, b"9\r\n[1]\n[2"),
        (CHUNKED, chunk(b"[1]\n[2") + b"zz\r\n"),
        (CHUNKED, chunk(b"[1]\n[2") + b"0\r\n"),
        (HEAD + b"Content-Length: 1000\r\n\r\n", b"[1]\n[2"),
    ],
    ids=["between-chunks", "within-a-chunk", "malformed-chunk", "before-the-end", "length"],
)
def test_a_body_that_breaks_off_breaks_the_response_off_too(client: httpx.Client, head: bytes, sent: bytes) -> None:
    """As a proxy does to a body over its limit: what arrived whole has its results, then comes the reason."""
    with connected(client) as connection:
        connection.sendall(head + sent)
        connection.shutdown(socket.SHUT_WR)
        body = received_part(connection)
    assert body.startswith(b'[2.5]\n{"error":"expected a whole body')
    assert body.endswith(b'"line":2}\n')


def test_a_body_of_known_length_is_read_in_chunks_too(filled: Store, server: FakeModelServer) -> None:
    """Larger than any other kind of body may be."""
    body = b"[1]\n" * 20_000
    with start_gateway(filled, server, max_json_bytes=1000) as (_, client):
        answer = client.post(PREDICT, content=body, headers={"Content-Type": "application/x-ndjson"})
        assert (answer.status_code, answer.content) == (200, b"[2.5]\n" * 20_000)
        assert answer.headers["X-Model-Version"] == "2"
