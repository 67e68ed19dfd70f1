"""The model server as a process: its start, its refusals to start, and its end."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
import pytest
from grpc_health.v1 import health_pb2

from modelyard.services.modelserver.api.health import SERVICES
from tests.support.modelserver import Served, Store, X, eventually, request, saved, store
from tests.support.signals import standing_still

__all__ = ["saved", "store"]  # fixtures

COMMAND = (sys.executable, "-m", "modelyard.services.modelserver")
SOCKET = "grpc.sock"
LONG_S = 240.0
"""For calls that take seconds, many of them at once, on a machine that has other things to do."""


class Server:
    """One model server process that logs to a file."""

    def __init__(self, store: Store, *flags: str, configured: bool = True) -> None:
        config = [f"--model_config_file={store.config}"] if configured else []
        self.log = store.root / "log.jsonl"
        with self.log.open("w") as log:
            self.process = subprocess.Popen([*COMMAND, "--port=0", *config, *flags], stderr=log)
        eventually(lambda: bool(self.events("listening")), "listening")
        self.port = self.events("listening")[0]["port"]
        self.served = Served(f"127.0.0.1:{self.port}", store)

    def events(self, name: str) -> list[Mapping[str, Any]]:
        lines = [line for line in self.log.read_text().splitlines() if line.startswith("{") and line.endswith("}")]
        return [event for event in map(json.loads, lines) if event["event"] == name]

    def end(self) -> None:
        self.served.client.close()
        self.process.kill()
        self.process.wait(10)


@pytest.fixture
def start(store: Store) -> Iterator[Callable[..., Server]]:
    started: list[Server] = []

    def begin(*flags: str) -> Server:
        started.append(Server(store, *flags))
        return started[-1]

    yield begin
    for server in started:
        server.end()


@pytest.fixture(scope="module")
def running(saved: Mapping[int, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server of version 1 of ``m``, at a port and a socket, for all tests that leave it as it is."""
    store = Store(tmp_path_factory.mktemp("running"), saved)
    store.put("m", 1)
    store.configure(store.entry("m"))
    server = Server(store, f"--grpc_socket_path={store.root / SOCKET}")
    eventually(server.served.is_serving, "ready")
    yield server
    server.end()


@pytest.mark.parametrize("count", [8, pytest.param(50, marks=pytest.mark.long)])
def test_sigterm_lets_all_calls_in_flight_finish(count: int, store: Store, start: Callable[..., Server]) -> None:
    """Long calls complete, health says NOT_SERVING before they are, and the exit status is 0."""
    for model in ("m", "n"):
        store.put(model, 1)
    store.configure(store.entry("m"), store.entry("n"))
    server = start("--grpc_max_threads=60", f"--drain_timeout_seconds={LONG_S}")
    served = server.served
    eventually(served.is_serving, "ready")
    watched = served.health_stub.Watch(health_pb2.HealthCheckRequest())
    assert next(watched).status == health_pb2.HealthCheckResponse.SERVING

    before = served.runs(1)
    message = request(signature="slow", steps=np.array(15_000, np.int32))
    calls = [served.prediction.Predict.future(message, timeout=LONG_S) for _ in range(count)]
    eventually(lambda: served.runs(1) == before + len(calls), "all calls in flight")
    server.process.send_signal(signal.SIGTERM)
    with futures.ThreadPoolExecutor(1) as pool:
        changed = pool.submit(next, watched)
        assert changed.result(timeout=60).status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert not all(call.done() for call in calls)
    assert {call.exception() for call in calls} == {None}
    assert list(watched) == []  # ended by the server: an open watch holds no drain
    assert server.process.wait(60) == 0
    assert server.events("stopped")[0]["drained"]


def test_second_sigterm_ends_at_once_what_the_first_would_wait_for(store: Store, start: Callable[..., Server]) -> None:
    """A long call holds the drain; a second signal does not wait for it."""
    for model in ("m", "n"):
        store.put(model, 1)
    store.configure(store.entry("m"), store.entry("n"))
    server = start(f"--drain_timeout_seconds={LONG_S}")
    eventually(server.served.is_serving, "ready")
    before = server.served.runs(1)
    message = request(signature="slow", steps=np.array(2_000_000_000, np.int32))
    call = server.served.prediction.Predict.future(message, timeout=LONG_S)
    eventually(lambda: server.served.runs(1) == before + 1, "in flight")
    server.process.send_signal(signal.SIGTERM)
    eventually(lambda: bool(server.events("draining")), "draining")
    assert server.process.poll() is None
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(30) == 128 + signal.SIGTERM
    assert call.code() == grpc.StatusCode.UNAVAILABLE


def test_a_stopped_server_costs_clients_their_deadline_and_recovers_by_itself(running: Server) -> None:
    """SIGSTOP for a while: clients get an error by their deadline. After SIGCONT the next call succeeds."""
    served = running.served
    with standing_still(psutil.Process(running.process.pid)):
        calls = [served.prediction.Predict.future(request(x=X), timeout=1) for _ in range(100)]
        began = time.monotonic()
        assert {call.code() for call in calls} == {grpc.StatusCode.DEADLINE_EXCEEDED}
        assert time.monotonic() - began < 30
    np.testing.assert_array_equal(served.predict(1), X / 2 + 1)


def test_a_unix_domain_socket_serves_beside_the_port(running: Server) -> None:
    """--grpc_socket_path."""
    store = running.served.store
    local = Served(f"unix:{store.root / SOCKET}", store)
    for served in (local, running.served):
        np.testing.assert_array_equal(served.predict(1), X / 2 + 1)
        assert {served.health(name) for name in SERVICES} == {"SERVING"}
    local.client.close()


def test_tensorflows_python_package_is_not_loaded(running: Server) -> None:
    """Only its library is."""
    np.testing.assert_array_equal(running.served.predict(1), X / 2 + 1)
    libraries = {Path(entry.path).name for entry in psutil.Process(running.process.pid).memory_maps()}
    assert "libtensorflow_cc.so.2" in libraries
    assert not {name for name in libraries if name.startswith("_pywrap_tensorflow")}


def test_a_model_name_and_a_base_path_are_enough(store: Store) -> None:
    """TensorFlow Serving's flags for a single model; the newest version is served, and newer ones as they come."""
    store.put("m", 1)
    server = Server(store, "--model_name=m", f"--model_base_path={store.root / 'm'}", configured=False)
    try:
        eventually(lambda: server.served.state(1) == "AVAILABLE", "first")
        store.put("m", 2)
        server.served.await_state(2, "AVAILABLE")
        server.served.await_state(1, "END")
    finally:
        server.end()


def test_port_in_use_is_one_line_with_the_way_out(store: Store, start: Callable[..., Server]) -> None:
    """A second server on the same port ends at once, before TensorFlow is imported, and the first is not disturbed."""
    store.configure()
    first = start()
    second = run(f"--port={first.port}", f"--model_config_file={store.config}")
    assert second.returncode == 1
    *_, last = second.stderr.splitlines()
    assert json.loads(last)["cause"] == (
        f"cannot listen on 127.0.0.1:{first.port}: it is in use, or not an address of this machine; "
        "stop what listens there, or choose another --port"
    )
    with pytest.raises(grpc.RpcError):
        first.served.prediction.Predict(request(), timeout=60)


def test_flag_that_does_not_exist_is_refused_by_name() -> None:
    """Exit status 2; nothing is silently ignored."""
    ended = run("--model_config_file=/x", "--prot=8500")
    assert ended.returncode == 2
    assert "unrecognized arguments: --prot=8500" in ended.stderr


def run(*flags: str) -> subprocess.CompletedProcess[str]:
    """A server that is expected to end by itself, and soon."""
    return subprocess.run([*COMMAND, *flags], capture_output=True, text=True, timeout=120, check=False)
