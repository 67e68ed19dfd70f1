"""Streams of lines through the proxy of ``deploy/proxy/Caddyfile``."""

import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPResponse, IncompleteRead
from pathlib import Path

import httpx
import pytest

from modelyard.models.registry.store import Store
from tests.slim.gateway.test_process import PREDICT
from tests.support.fakes import FakeModelServer
from tests.support.ports import held_port
from tests.support.repository import ROOT
from tests.support.slim_programs import gateway
from tests.support.waiting import wait_until

LINES = 100_000
LINE = b"[1" + b" " * 196 + b"]\n"
"""Together 20 MB, above the limit of every other body."""
HEAD = f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/jsonl; charset=utf-8\r\n".encode()
PASSES_BREAKS_ON = (2, 7, 6)
"""Caddy's first release that does not end a response as if it were whole (caddyserver/caddy#5951)."""
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@contextmanager
def proxy(client: httpx.Client, folder: Path) -> Iterator[int]:
    """The port of Caddy in front of a gateway, without TLS."""
    if not (caddy := shutil.which("caddy")):
        pytest.skip("caddy is not installed")
    with held_port() as port:
        command = [caddy, "run", "--config", str(ROOT / "deploy" / "proxy" / "Caddyfile"), "--adapter", "caddyfile"]
        environment = {
            "MODELYARD_DOMAIN": f"http://localhost:{port}",
            "MODELYARD_UPSTREAM": f"127.0.0.1:{client.base_url.port}",
            "HOME": str(folder),
        }
        process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: responds(port))
            yield port
        finally:
            process.kill()
            process.wait()


def responds(port: int) -> bool:
    try:
        return httpx.get(f"http://localhost:{port}/healthz", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(content), content)


def test_a_stream_larger_than_any_other_body_is_answered_to_its_end(
    filled: Store, server: FakeModelServer, tmp_path: Path
) -> None:
    """As many results as lines."""
    with (
        gateway(store=filled.root, serving=server.address, max_batch=1024) as (_, client),
        proxy(client, tmp_path) as port,
    ):

        def send() -> None:
            for _ in range(LINES // 1000):
                connection.sendall(chunk(LINE * 1000))
            connection.sendall(b"0\r\n\r\n")

        with socket.create_connection(("localhost", port), timeout=300) as connection:
            connection.sendall(CHUNKED)
            sender = threading.Thread(target=send)
            sender.start()
            with HTTPResponse(connection) as answer:
                answer.begin()
                assert answer.status == 200
                count, last = 0, b""
                while part := answer.read(1 << 16):
                    count, last = count + part.count(b"\n"), (last + part)[-200:]
            sender.join()
    assert (count, last[-6:]) == (LINES, b"[2.5]\n"), last


def test_other_bodies_have_the_gateways_own_limits(filled: Store, server: FakeModelServer, tmp_path: Path) -> None:
    """413 as it says it, not a proxy's error."""
    body = b" " * 17_000_000
    with gateway(store=filled.root, serving=server.address) as (_, client), proxy(client, tmp_path) as port:
        url = f"http://localhost:{port}{PREDICT}"
        for kind in ("application/json", "application/jsonlx", "text/plain; a=application/jsonl"):
            answer = httpx.post(url, content=body, headers={"Content-Type": kind}, trust_env=False)
            assert (answer.status_code, "expected a body of at most" in answer.text) == (413, True), answer.text


def test_a_stream_that_breaks_is_seen_through_the_proxy(filled: Store, server: FakeModelServer, tmp_path: Path) -> None:
    """The results up to there and the reason; then no end of the response, where the proxy passes that on."""
    with (
        gateway(store=filled.root, serving=server.address, body_timeout_s=1) as (_, client),
        proxy(client, tmp_path) as port,
        socket.create_connection(("localhost", port), timeout=60) as connection,
    ):
        connection.sendall(CHUNKED + chunk(b"[1]\n"))
        with HTTPResponse(connection) as answer:
            answer.begin()
            received, is_whole = read_all(answer)
    assert received.startswith(b'[2.5]\n{"error":"expected the next chunk of the body within 1 s"')
    assert is_whole == (caddy_version() < PASSES_BREAKS_ON)


def read_all(answer: HTTPResponse) -> tuple[bytes, bool]:
    """What came, and whether the response came to its end."""
    try:
        return answer.read(), True
    except IncompleteRead as broken:
        return broken.partial, False


def caddy_version() -> tuple[int, ...]:
    found = subprocess.run(["caddy", "version"], capture_output=True, text=True, check=True).stdout
    return tuple(int(part) for part in re.findall(r"\d+", found)[:3])
