"""The RSGI app over real sockets: what is admitted, what is refused before it is read, and clients that stall."""

import contextlib
import re
import resource
import socket
import threading
import time
from collections.abc import Iterator

import httpx
import psutil
import pytest

from modelyard.models.registry.rollout import read_history
from modelyard.models.registry.store import Store
from tests.slim.gateway.test_process import PREDICT
from tests.support.fakes import HALF_PLUS, FakeModelServer
from tests.support.http import http
from tests.support.slim_programs import GatewayProcess, gateway

BODY = b'{"instances": [[1.0]]}'
GOOD = {"predictions": [[2.5]]}
STALLED = 1_200


@pytest.fixture(scope="module")
def running(shared_store: Store, shared_server: FakeModelServer) -> Iterator[tuple[GatewayProcess, httpx.Client]]:
    """A gateway for all tests that neither configure it nor measure it."""
    with gateway(store=shared_store.root, serving=shared_server.address) as found:
        yield found


@pytest.fixture(scope="module")
def client(running: tuple[GatewayProcess, httpx.Client]) -> httpx.Client:
    return running[1]


def head(*lines: str, length: int | None = len(BODY)) -> bytes:
    announced = [] if length is None else [f"Content-Length: {length}"]
    return "\r\n".join([f"POST {PREDICT} HTTP/1.1", "Host: localhost", *announced, *lines, "", ""]).encode()


def exchange(client: httpx.Client, raw: bytes, *, half_close: bool = False, answers: int = 100) -> bytes:
    """What the gateway answers to these bytes, until it closes or has given so many whole answers."""
    received = b""
    with connected(client) as connection, contextlib.suppress(ConnectionError):  # another way to close
        connection.sendall(raw)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        while whole(received) < answers and (chunk := connection.recv(65536)):
            received += chunk
    return received


def receive_response(connection: socket.socket) -> bytes:
    """The next response, to its end."""
    received = b""
    while not whole(received) and (chunk := connection.recv(65536)):
        received += chunk
    return received


def whole(received: bytes) -> int:
    """How many answers of known length these bytes hold to their end."""
    count = 0
    while (end := received.find(b"\r\n\r\n") + 4) >= 4:
        length = re.search(rb"content-length: (\d+)\r\n", received[:end], re.IGNORECASE)
        end += int(length[1]) if length else 0
        if len(received) < end:
            break
        count, received = count + 1, received[end:]
    return count


@contextlib.contextmanager
def connected(client: httpx.Client) -> Iterator[socket.socket]:
    port = client.base_url.port
    assert port
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        yield connection


def statuses(answer: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3})", answer)]


@pytest.mark.parametrize(
    "raw",
    [
        head("Transfer-Encoding: chunked") + b"0\r\n\r\n" + head() + BODY,
        head("Content-Length: 5") + BODY,
        head("Transfer-Encoding: xchunked", length=None) + BODY,
        head("Transfer-Encoding : chunked", length=None) + b"0\r\n\r\n",
        head("Transfer-Encoding: chunked", length=None) + b"zz\r\n" + BODY + b"\r\n0\r\n\r\n",
        head("Transfer-Encoding: chunked", length=None) + b"-1\r\n" + BODY + b"\r\n0\r\n\r\n",
        head("Transfer-Encoding: chunked, identity", length=None) + b"0\r\n\r\n",
        head("Content-Length: +22", length=None) + BODY,
        head("Content-Length: 0x16", length=None) + BODY,
        head("Content-Length: -1", length=None) + BODY,
    ],
    ids=[
        "both", "two-lengths", "xchunked", "space", "bad-chunk", "negative-chunk", "identity", "plus", "hex", "minus",
    ],
)  # fmt: skip
def test_what_can_be_read_in_two_ways_is_refused_and_the_connection_closed(
    client: httpx.Client, shared_server: FakeModelServer, raw: bytes
) -> None:
    """Request smuggling (RFC 9112, section 11.2): never a second answer, never a prediction."""
    before = len(shared_server.calls)
    found = statuses(exchange(client, raw, half_close=True))
    assert found in ([400], [])
    assert shared_server.calls[before:] == []
    assert client.post(PREDICT, content=BODY).json() == GOOD


@pytest.mark.parametrize("path", [PREDICT, "/api/jobs", "/api/feedback", "/no/such/route"])
def test_a_body_shorter_than_announced_is_400(
    running: tuple[GatewayProcess, httpx.Client], shared_server: FakeModelServer, path: str
) -> None:
    """The client half closed its connection; nothing reaches the model, and the process goes on."""
    process, client = running
    before = len(shared_server.calls)
    answer = exchange(client, head(length=69).replace(PREDICT.encode(), path.encode()) + BODY[:19], half_close=True)
    assert statuses(answer) == [400]
    assert b"expected 69 bytes as announced; the connection was closed before" in answer
    assert b"x-request-id: " in answer
    assert shared_server.calls[before:] == []
    assert client.post(PREDICT, content=BODY).json() == GOOD
    assert process.poll() is None


@pytest.mark.parametrize("path", [PREDICT, "/api/jobs", "/api/models/half_plus:rollback", "/no/such/route"])
@pytest.mark.parametrize(
    "cut",
    [
        b"16\r\n" + BODY + b"\r\n",
        b"16\r\n" + BODY[:9],
        b"",
        b"16\r\n" + BODY + b"\r\n0\r\n",
        b"16\r\n" + BODY + b"\r\nzz",
    ],
    ids=["between-chunks", "within-a-chunk", "nothing", "before-the-end", "malformed"],
)
def test_a_chunked_body_without_its_end_is_400(
    client: httpx.Client, shared_server: FakeModelServer, shared_store: Store, path: str, cut: bytes
) -> None:
    """A part of a body may be a body, too: nothing is done with it, however much of it looks whole."""
    before, history = len(shared_server.calls), read_history(shared_store, HALF_PLUS)
    raw = head("Transfer-Encoding: chunked", length=None).replace(PREDICT.encode(), path.encode()) + cut
    answer = exchange(client, raw, half_close=True)
    assert statuses(answer) == [400]
    assert b"expected a whole body; the connection was closed before" in answer
    assert shared_server.calls[before:] == []
    assert read_history(shared_store, HALF_PLUS) == history


def test_whole_chunked_bodies_are_read_to_their_end(client: httpx.Client) -> None:
    """In one chunk and in many, and the empty one, which is whole, too."""
    chunked = head("Transfer-Encoding: chunked", length=None)
    one = exchange(client, chunked + b"16\r\n" + BODY + b"\r\n0\r\n\r\n", answers=1)
    many = exchange(client, chunked + b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\n\r\n", answers=1)
    empty = exchange(client, chunked + b"0\r\n\r\n", answers=1)
    assert (statuses(one), statuses(many), statuses(empty)) == ([200], [200], [400])
    assert b"The document is empty" in empty


def test_a_body_that_stalls_is_408_and_the_connection_closed(filled: Store, server: FakeModelServer) -> None:
    """Within the time for bodies."""
    with gateway(store=filled.root, serving=server.address, body_timeout_s=0.3) as (_, client):
        answer = exchange(client, head(length=100) + BODY)
    assert statuses(answer) == [408]
    assert b"expected the whole body within 0.3 s" in answer


def test_good_requests_go_on_beside_many_stalled_and_idle_connections(filled: Store, server: FakeModelServer) -> None:
    """A third stalls in the headers, a third in the body, a third is idle; none of them holds a thread or a place."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with (
        gateway(store=filled.root, serving=server.address, body_timeout_s=600) as (_, client),
        contextlib.ExitStack() as stack,
    ):
        for number in range(STALLED):
            connection = stack.enter_context(connected(client))
            connection.sendall(head(length=100)[: (0, -4, None)[number % 3]])
        for _ in range(50):
            assert client.post(PREDICT, content=BODY).json() == GOOD
        newcomer = http.post(client.base_url.join(PREDICT), content=BODY)
        assert newcomer.json() == GOOD
        assert client.get("/healthz").status_code == 200


def test_endless_bodies_are_cut_off_and_memory_stays(filled: Store, server: FakeModelServer) -> None:
    """100 MB in chunks: refused as soon as the limit is passed; the process grows by no more than its limits allow."""
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    with gateway(store=filled.root, serving=server.address) as (process, client):
        client.post(PREDICT, content=BODY)
        before = psutil.Process(process.pid).memory_info().rss
        for _ in range(3):
            with connected(client) as connection, contextlib.suppress(OSError):
                connection.sendall(head("Transfer-Encoding: chunked", length=None))
                for _ in range(1600):
                    connection.sendall(chunk)
                assert b"413" in connection.recv(65536)
        announced = exchange(client, head(length=100_000_000), answers=1)
        assert statuses(announced) == [413]
        assert psutil.Process(process.pid).memory_info().rss - before < 64 * 2**20 + 3 * 16 * 2**20
        assert client.post(PREDICT, content=BODY).json() == GOOD


def test_too_many_headers_and_too_long_ones_are_refused(client: httpx.Client) -> None:
    """431, or the connection is closed before anything is made of them."""
    many = exchange(client, head(*(f"X-{n}: y" for n in range(90))) + BODY)
    long = exchange(client, head("X-Long: " + "y" * 1_000_000) + BODY)
    assert statuses(many) == [431]
    counted = 'modelyard_gateway_requests_total{method="POST",route="/v1/models/<model:model>:predict",status="431"} '
    assert counted in client.get("/metrics").text
    assert statuses(long) in ([431], [])
    assert client.post(PREDICT, content=BODY).json() == GOOD


def test_requests_over_the_limit_are_shed_before_their_body_is_read(filled: Store, server: FakeModelServer) -> None:
    """503 with Retry-After, though not a byte of the body has come; other models go on."""
    with gateway(store=filled.root, serving=server.address, max_in_flight=2) as (_, client):
        with full_gateway(client, server), connected(client) as connection:
            connection.sendall(head(length=100))
            answer = receive_response(connection)
        assert statuses(answer) == [503]
        assert b"retry-after: " in answer
        assert f"{HALF_PLUS} is overloaded".encode() in answer
        assert client.post(PREDICT, content=BODY).json() == GOOD
        counted = (
            'modelyard_gateway_requests_total{method="POST",route="/v1/models/<model:model>:predict",status="503"} '
        )
        assert counted + "1.0" in client.get("/metrics").text


def test_a_shed_request_with_a_large_body_gets_its_response(filled: Store, server: FakeModelServer) -> None:
    """Every time, over one connection: closed on what is still coming, the answer would be lost with it."""
    large = b" " * 4_000_000
    with (
        gateway(store=filled.root, serving=server.address, max_in_flight=2) as (_, client),
        full_gateway(client, server),
        connected(client) as connection,
    ):
        for _ in range(20):
            connection.sendall(head(length=len(large)) + large)
            assert statuses(receive_response(connection)) == [503]


@contextlib.contextmanager
def full_gateway(client: httpx.Client, server: FakeModelServer) -> Iterator[None]:
    """Two requests are under way until the end of the block."""
    server.release.clear()
    busy = [threading.Thread(target=lambda: client.post(PREDICT, content=BODY)) for _ in range(2)]
    for thread in busy:
        thread.start()
    deadline = time.monotonic() + 30
    while "modelyard_gateway_requests_in_flight 3.0" not in client.get("/metrics").text:  # this request is the third
        assert time.monotonic() < deadline
    yield
    server.release.set()
    for thread in busy:
        thread.join()


def test_pipelined_requests_get_responses_in_order(client: httpx.Client) -> None:
    """Three in one packet."""
    bodies = [b'{"instances": [[%d.0]]}' % number for number in (0, 2, 4)]
    answer = exchange(client, b"".join(head(length=len(body)) + body for body in bodies), answers=3)
    assert re.findall(rb'"predictions":\[\[(.*?)\]\]', answer) == [b"2.0", b"3.0", b"4.0"]


def test_as_many_files_may_be_open_as_the_system_allows(running: tuple[GatewayProcess, httpx.Client]) -> None:
    """Connections are files."""
    soft, hard = psutil.Process(running[0].pid).rlimit(psutil.RLIMIT_NOFILE)
    assert soft == hard


def test_what_the_rsgi_app_refuses_has_a_request_id_too(filled: Store, server: FakeModelServer) -> None:
    """The client's own, where it is valid; else a new one."""
    with gateway(store=filled.root, serving=server.address, max_json_bytes=10, max_image_bytes=10) as (_, client):
        huge = exchange(client, head("X-Request-Id: mine-1", length=100_000_000), answers=1)
        nameless = exchange(client, head("X-Request-Id: a b", length=100_000_000), answers=1)
    assert (statuses(huge), statuses(nameless)) == ([413], [413])
    assert b"x-request-id: mine-1\r\n" in huge
    assert re.search(rb"x-request-id: [0-9a-f]{16}\r\n", nameless)


def test_pages_of_allowed_origins_may_read_what_the_rsgi_app_refuses(filled: Store, server: FakeModelServer) -> None:
    """Retry-After among it."""
    with gateway(store=filled.root, serving=server.address, cors_origins="http://page") as (_, client):
        known = exchange(client, head("Origin: http://page", length=100_000_000), answers=1).lower()
        other = exchange(client, head("Origin: http://other", length=100_000_000), answers=1).lower()
    assert b"access-control-allow-origin: http://page\r\n" in known
    assert b"access-control-allow-origin" not in other
    assert b"vary: origin\r\n" in other
