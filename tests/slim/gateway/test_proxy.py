"""Streams of lines through the proxy of ``deploy/proxy/Caddyfile``."""

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
from tests.slim.gateway.test_process import PREDICT, gateway
from tests.support.fakes import FakeModelServer
from tests.support.ports import held_port
from tests.support.repository import ROOT
from tests.support.waiting import wait_until

LINES = 5_000_000
"""20 MB, above the limit of every other body."""
HEAD = f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/jsonl; charset=utf-8\r\n".encode()
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
        gateway(store=filled.root, serving=server.address, max_batch=4096) as (_, client),
        proxy(client, tmp_path) as port,
    ):

        def send() -> None:
            for _ in range(LINES // 50_000):
                connection.sendall(chunk(b"[1]\n" * 50_000))
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


def test_other_bodies_are_refused_by_the_proxy_above_the_gateways_limit(
    filled: Store, server: FakeModelServer, tmp_path: Path
) -> None:
    """413, whatever is said of it."""
    with gateway(store=filled.root, serving=server.address) as (_, client), proxy(client, tmp_path) as port:
        url = f"http://localhost:{port}{PREDICT}"
        for kind in ("application/json", "application/jsonlx", "text/plain; a=application/jsonl"):
            body = b" " * 17_000_000
            assert httpx.post(url, content=body, headers={"Content-Type": kind}, trust_env=False).status_code == 413, (
                kind
            )


def test_a_stream_that_breaks_is_seen_through_the_proxy(filled: Store, server: FakeModelServer, tmp_path: Path) -> None:
    """The results up to there, then no end of the response."""
    with gateway(store=filled.root, serving=server.address) as (_, client), proxy(client, tmp_path) as port:
        with socket.create_connection(("localhost", port), timeout=60) as connection:
            connection.sendall(CHUNKED + chunk(b"[1]\n[2") + b"zz\r\n")
            with HTTPResponse(connection) as answer:
                answer.begin()
                with pytest.raises((IncompleteRead, ConnectionError)):
                    answer.read()
