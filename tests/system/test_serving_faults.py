"""Gateway and model server as processes that get SIGTERM, SIGSTOP or SIGKILL: nothing is lost or wrong."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from modelyard.pipeline.processes.forkserver import ForkServer
from tests.support.processes import START_S, WAIT_S
from tests.support.serving import MODEL, Served, config_of, gateway_and_servers, listens, modelyard_serve, put
from tests.support.signals import standing_still
from tests.support.traffic import more, traffic
from tests.support.waiting import wait_until

DEADLINE_S = 0.5
USUAL = {"MODELYARD_PREDICT_TIMEOUT_S": "5", "MODELYARD_STATUS_TIMEOUT_S": "2"}
"""A gateway with a usual patience: a breaker opens once the server has not said in time whether it is there."""
REQUESTS = 300
"""Before and after one of two model servers is killed."""
SLACK_S = 3.0
"""For a busy machine; without a deadline clients would wait for longer."""
BACK_S = 10.0
"""From a loaded version to an answer: a lost connection is tried again each second, and so is an open circuit."""


def test_after_sigterm_the_gateway_completes_all_hundred_in_flight(
    made: Path, tmp_path: Path, forks: ForkServer
) -> None:
    """The model server stands still until the gateway got SIGTERM; exit status 0, and nobody listens after."""
    put(made / MODEL / "1", tmp_path / "models" / MODEL / "1")
    with gateway_and_servers(forks, tmp_path, config_of(tmp_path / "models", MODEL), MODEL) as served:
        assert served.predict(MODEL, instances=[1.0]).json() == {"predictions": [1.5]}
        server = served.servers[0].process
        connections = httpx.Limits(max_connections=None)
        with httpx.Client(timeout=60, trust_env=False, limits=connections) as http, ThreadPoolExecutor(100) as pool:
            with standing_still(psutil.Process(server.pid)):
                calls = [pool.submit(call_with_long_deadline, http, served, float(number)) for number in range(100)]
                wait_until(lambda: served.in_flight() >= 100, WAIT_S, "a hundred in flight")
                served.gateway.process.send_signal(signal.SIGTERM)
                wait_until(lambda: "stopping" in served.gateway.printed, WAIT_S, "the gateway is stopping")
            answers = [call.result() for call in calls]
        assert [(answer.status_code, answer.json()) for answer in answers] == [
            (200, {"predictions": [number / 2 + 1]}) for number in range(100)
        ]
        assert served.gateway.process.wait(WAIT_S) == 0
        assert not listens(served.port)


def call_with_long_deadline(http: httpx.Client, served: Served, value: float) -> httpx.Response:
    """On a connection of its own, as all others are busy."""
    headers = {"X-Timeout-Ms": "30000"}
    return http.post(f"{served.url}/v1/models/{MODEL}:predict", json={"instances": [value]}, headers=headers)


def test_a_model_server_that_stands_still_costs_a_deadline_then_nothing(
    made: Path, tmp_path: Path, forks: ForkServer
) -> None:
    """SIGSTOP: 504 or 503 within the deadline and a bit; soon at once, by the breaker; after SIGCONT right again."""
    put(made / MODEL / "1", tmp_path / "models" / MODEL / "1")
    with gateway_and_servers(forks, tmp_path, config_of(tmp_path / "models", MODEL), MODEL, **USUAL) as served:
        server = served.servers[0].process
        hurried: dict[str, Any] = {"instances": [1.0], "headers": {"X-Timeout-Ms": f"{DEADLINE_S * 1000:.0f}"}}
        assert served.predict(MODEL, [1.0]).json() == {"predictions": [1.5]}
        took: list[tuple[float, httpx.Response]] = []

        def fast_refusal() -> bool:
            began = time.monotonic()
            response = served.predict(MODEL, **hurried)
            took.append((time.monotonic() - began, response))
            return response.status_code == 503 and "does not answer at present" in response.text and took[-1][0] < 0.1

        with standing_still(psutil.Process(server.pid)):
            wait_until(fast_refusal, WAIT_S, "the breaker opens")
            for _ in range(10):
                fast_refusal()
        wait_until(lambda: served.predict(MODEL, **hurried).status_code == 200, WAIT_S, "right again")
        for _ in range(20):
            assert served.predict(MODEL, [1.0]).json() == {"predictions": [1.5]}
        assert {response.status_code for _, response in took} <= {503, 504}
        assert all("Retry-After" in response.headers for _, response in took if response.status_code == 503)
        assert max(seconds for seconds, _ in took) < DEADLINE_S + SLACK_S, took
        assert served.gateway.process.poll() is None


@pytest.mark.long
def test_a_model_server_killed_again_and_again_comes_back_to_the_same_gateway(made: Path, tmp_path: Path) -> None:
    """Five times: only right answers, 503 with Retry-After, or 504; right again soon after it has loaded."""
    put(made / MODEL / "1", tmp_path / "models" / MODEL / "1")
    with modelyard_serve(tmp_path / "home", "--models-dir", str(tmp_path / "models"), "--isolated") as served:
        gateway = served.gateway.child("modelyard.services.gateway")
        assert gateway
        log = tmp_path / "home" / "serve" / "log" / "modelserver.log"
        back: list[float] = []
        with traffic(served.url, MODEL) as seen:
            for times in range(5):
                wait_until(more(seen), WAIT_S, "answers")
                server = served.gateway.child("modelyard.services.modelserver")
                assert server
                server.kill()
                loaded = partial(loads, log, least=times + 2)
                wait_until(loaded, START_S, "it has loaded again")
                now = time.monotonic()
                wait_until(more(seen, 1), WAIT_S, "right again")
                back.append(time.monotonic() - now)
        found = served.gateway.child("modelyard.services.gateway")
        assert found
        assert found.pid == gateway.pid
    assert (seen.wrong, seen.failed) == ([], [])
    assert seen.refused
    assert max(back) < BACK_S, back


@pytest.mark.parametrize("times", [1, pytest.param(3, marks=pytest.mark.long)])
def test_one_process_killed_under_load_comes_back_and_answers_nothing_wrong(
    made: Path, tmp_path: Path, times: int
) -> None:
    """However often: connections are lost, then refused, or told to wait; then all is right again."""
    put(made / MODEL / "1", tmp_path / "models" / MODEL / "1")
    with modelyard_serve(tmp_path / "home", "--models-dir", str(tmp_path / "models"), "--one-process") as served:
        assert served.gateway.child("modelyard.services.modelserver") is None
        back: list[float] = []
        with traffic(served.url, MODEL) as seen:
            for _ in range(times):
                wait_until(more(seen), WAIT_S, "answers")
                process = served.gateway.child("modelyard.services.gateway")
                assert process
                process.kill()
                process.wait(WAIT_S)
                killed_at = time.monotonic()
                wait_until(more(seen), START_S, "right again")
                back.append(time.monotonic() - killed_at)
        log = tmp_path / "home" / "serve" / "log" / "gateway.log"
        assert loads(log, least=1 + times)
    assert seen.wrong == []
    lost = ("ConnectError", "ReadError", "RemoteProtocolError", "WriteError")
    assert [failure for failure in seen.failed if not failure.startswith(lost)] == []
    assert max(back) < START_S, back


def loads(log: Path, least: int) -> bool:
    """Whether a model server, with all that were started in its place, has loaded a version so often."""
    return log.read_text().count('"version_available"') >= least


def test_with_two_model_servers_the_death_of_one_loses_nothing(made: Path, tmp_path: Path, forks: ForkServer) -> None:
    """Both work; after one is killed, each request gets the right response from the other."""
    put(made / MODEL / "1", tmp_path / "models" / MODEL / "1")
    config = config_of(tmp_path / "models", MODEL)
    with gateway_and_servers(forks, tmp_path, config, MODEL, count=2) as served:
        before = [cpu_s(server.process.pid) for server in served.servers]

        def both_work() -> bool:
            spent = [cpu_s(server.process.pid) - was for server, was in zip(served.servers, before, strict=True)]
            return min(spent) > 0.02

        with traffic(served.url, MODEL, clients=8) as seen:
            wait_until(more(seen, REQUESTS), START_S, "answers")
            wait_until(both_work, START_S, "answers of both")
            served.servers[0].process.kill()
            wait_until(more(seen, REQUESTS), START_S, "answers of the other")
    overloaded = [answer for answer in seen.refused if "is overloaded" in answer.text]
    assert (seen.wrong, seen.failed, seen.late) == ([], [], [])
    others = {answer.text for answer in seen.refused} - {answer.text for answer in overloaded}
    assert others == set(), "refused for another reason than that this machine was busy"


def cpu_s(pid: int) -> float:
    used = psutil.Process(pid).cpu_times()
    return float(used.user + used.system)
