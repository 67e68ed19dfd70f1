"""The gateway as a process of its own: how it starts, what it refuses, how it stops."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from modelyard.models.registry.store import Store
from modelyard.services.gateway.http.greenlets import EventLoop
from modelyard.services.gateway.lifecycle import listen, wait_until_listening
from modelyard.services.gateway.server.port import PortTaken
from modelyard.services.gateway.server.rsgi import RsgiApp
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.gateway.wsgi import create_app
from modelyard.services.settings import InvalidSettings
from tests.support.fakes import HALF_PLUS, FakeModelServer
from tests.support.http import http
from tests.support.repository import ROOT
from tests.support.slim_programs import gateway, refusal

PREDICT = f"/v1/models/{HALF_PLUS}:predict"


def test_requests_in_flight_complete_after_sigterm(filled: Store, server: FakeModelServer) -> None:
    """Readiness is false at once, also on a connection that is already open, which ends; the prediction completes."""
    answers: list[httpx.Response] = []
    with gateway(store=filled.root, serving=server.address, drain_wait_s=5, forked=False) as (process, client):
        ready = client.get("/readyz")
        assert (ready.status_code, ready.headers.get("connection")) == (200, None)
        server.release.clear()
        body: Any = {"instances": [[1.0]]}
        thread = threading.Thread(target=lambda: answers.append(http.post(client.base_url.join(PREDICT), json=body)))
        thread.start()
        assert server.entered.wait(30)
        process.send_signal(signal.SIGTERM)
        assert wait_until_not_ready(client) == {"ready": False, "reasons": ["shutting down"]}
        server.release.set()
        thread.join()
        assert process.wait(60) == 0
    assert [answer.json() for answer in answers] == [{"predictions": [[2.5]]}]


def wait_until_not_ready(client: httpx.Client) -> dict[str, Any]:
    """Polls on one open connection, until the process is not ready, and says that this is the connection's end."""
    while (answer := client.get("/readyz")).status_code == 200:
        pass
    assert answer.headers["connection"] == "close"
    body: dict[str, Any] = answer.json()
    return body


def test_a_chunked_body_and_an_announced_one_are_limited(filled: Store, server: FakeModelServer) -> None:
    """413 over real sockets, and the process goes on."""
    with gateway(store=filled.root, serving=server.address, max_json_bytes=1000) as (_, client):
        announced = client.post(PREDICT, content=b"x" * 1001)
        chunked = client.post(PREDICT, content=(b"x" * 100 for _ in range(11)))
        assert (announced.status_code, chunked.status_code) == (413, 413)
        assert client.post(PREDICT, json={"instances": [[1.0]]}).json() == {"predictions": [[2.5]]}


def test_a_taken_port_is_reported_in_one_line() -> None:
    """With the way out, at once, and a status that is not 0."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = refusal(port=port, forked=False)
    assert found.returncode == 1
    assert found.stderr == (
        f"cannot listen on 127.0.0.1:{port}: another process listens there; "
        "stop it, or choose another port with MODELYARD_PORT\n"
    )


def test_a_port_that_is_taken_at_the_last_moment_is_reported_too() -> None:
    """Whoever took it answers there, which is not to be mistaken for the gateway."""

    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            settings, found = GatewaySettings(port=taken.getsockname()[1]), app.extensions
            server = listen(
                RsgiApp(app.wsgi_app, settings, loop, found["fast_path"].respond, found["metrics"], found["limits"]),
                settings,
            )
            await wait_until_listening(settings, asyncio.create_task(server.serve()))

    loop = EventLoop()
    app = create_app(GatewaySettings(), loop=loop)
    with pytest.raises(PortTaken, match=r"cannot listen on 127\.0\.0\.1:\d+: Address .*in use.*; choose another"):
        asyncio.run(run())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", ""])
def test_a_public_address_is_refused(host: str) -> None:
    """There are no API keys yet; the text says so, and what to do."""
    with pytest.raises(InvalidSettings, match=r"MODELYARD_HOST: .*API keys.*127\.0\.0\.1"):
        GatewaySettings.load(host=host)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_a_loopback_address_is_taken(host: str) -> None:
    """Every form of it."""
    assert GatewaySettings.load(host=host).host == host


def test_a_bad_setting_is_named_in_one_line() -> None:
    """Without a traceback."""
    found = refusal(port=70000, forked=False)
    assert (found.returncode, found.stderr.startswith("MODELYARD_PORT: ")) == (1, True)
    assert found.stderr.count("\n") == 1


def test_passwords_are_masked() -> None:
    """In what is logged at start."""
    shown = GatewaySettings.load(
        broker_url="redis://:hunter2@host/0", ledger_url="postgresql://u:hunter2@host/db"
    ).mask_secrets()
    assert "hunter2" not in str(shown)


def test_importing_the_gateway_loads_neither_tensorflow_nor_keras() -> None:
    """The application runs where neither is installed."""
    code = (
        "import sys; from modelyard.services.gateway import settings, wsgi; "
        "wsgi.create_app(settings.GatewaySettings()); "
        "print([name for name in sys.modules if name.split('.')[0] == 'keras' or name.startswith('tensorflow.python')])"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_importing_the_gateway_has_no_effect(tmp_path: Path) -> None:
    """No file, no thread, no output."""
    code = "import threading; import modelyard.services.gateway.__main__; print(threading.active_count())"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert (found.stdout.split("\n"), found.stderr) == (["1", ""], "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["/v1/models/foreign:predict", "/v2/models/foreign/infer"])
def test_a_silent_server_delays_a_request_for_a_foreign_model_no_longer_than_the_deadline(
    filled: Store, server: FakeModelServer, path: str
) -> None:
    """Only the model server could know the model, and it says nothing."""
    server.talks.clear()
    with gateway(store=filled.root, serving=server.address, status_timeout_s=15) as (_, client):
        answer = client.post(path, json={"instances": [[1.0]]}, headers={"X-Timeout-Ms": "300"}, timeout=10)
    assert (answer.status_code, answer.json()) == (504, {"error": "no answer within 0.3 s"})
