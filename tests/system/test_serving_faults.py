"""Gateway and model server as processes that are told to end, stand still or are killed: nothing is lost or wrong."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.system.conftest import wait_until
from tests.system.serving import (
    MODEL,
    Served,
    config_of,
    gateway_and_servers,
    listens,
    modelyard_serve,
    more,
    put,
    traffic,
)

DEADLINE_S = 0.5
SLACK_S = 0.3


def test_sigterm_to_the_gateway_answers_all_hundred_in_flight(made: Path, tmp_path: Path) -> None:
    """The model server stands still until the gateway was told to stop; exit status 0, and nobody listens after."""
    put(made / MODEL / "1", tmp_path / "models" / MODEL / "1")
    with gateway_and_servers(tmp_path, config_of(tmp_path / "models", MODEL), MODEL) as served:
        assert served.predict(MODEL, instances=[1.0]).json() == {"predictions": [1.5]}
        server = served.servers[0].process
        server.send_signal(signal.SIGSTOP)
        with ThreadPoolExecutor(100) as pool:
            calls = [pool.submit(patient_call, served, float(number)) for number in range(100)]
            wait_until(lambda: served.in_flight() >= 100, 20, "a hundred in flight")
            served.gateway.process.send_signal(signal.SIGTERM)
            wait_until(lambda: "stopping" in served.gateway.printed, 10, "the gateway was told to stop")
            server.send_signal(signal.SIGCONT)
            answers = [call.result() for call in calls]
        assert [(answer.status_code, answer.json()) for answer in answers] == [
            (200, {"predictions": [number / 2 + 1]}) for number in range(100)
        ]
        assert served.gateway.process.wait(30) == 0
        assert not listens(served.port)


def patient_call(served: Served, value: float) -> httpx.Response:
    """On a connection of its own."""
    headers = {"X-Timeout-Ms": "30000"}
    body = {"instances": [value]}
    return httpx.post(
        f"{served.url}/v1/models/{MODEL}:predict", json=body, headers=headers, timeout=60, trust_env=False
    )


def test_a_model_server_that_stands_still_costs_a_deadline_then_nothing(made: Path, tmp_path: Path) -> None:
    """SIGSTOP: 504 or 503 within the deadline and a bit; soon at once, by the breaker; after SIGCONT right again."""
    put(made / MODEL / "1", tmp_path / "models" / MODEL / "1")
    with gateway_and_servers(tmp_path, config_of(tmp_path / "models", MODEL), MODEL) as served:
        server = served.servers[0].process
        ask: dict[str, Any] = {"instances": [1.0], "headers": {"X-Timeout-Ms": f"{DEADLINE_S * 1000:.0f}"}}
        assert served.predict(MODEL, **ask).json() == {"predictions": [1.5]}
        server.send_signal(signal.SIGSTOP)
        took: list[tuple[float, httpx.Response]] = []

        def fast_refusal() -> bool:
            began = time.monotonic()
            response = served.predict(MODEL, **ask)
            took.append((time.monotonic() - began, response))
            return len(took) > 1 and took[-1][0] < 0.1 and response.status_code == 503

        wait_until(fast_refusal, 15, "the breaker opens")
        for _ in range(10):
            fast_refusal()
        server.send_signal(signal.SIGCONT)
        wait_until(lambda: served.predict(MODEL, **ask).status_code == 200, 5, "right again")
        for _ in range(20):
            assert served.predict(MODEL, **ask).json() == {"predictions": [1.5]}
        assert {response.status_code for _, response in took} <= {503, 504}
        assert all("Retry-After" in response.headers for _, response in took if response.status_code == 503)
        assert max(seconds for seconds, _ in took) < DEADLINE_S + SLACK_S, took
        assert served.gateway.process.poll() is None


def test_a_model_server_killed_again_and_again_comes_back_to_the_same_gateway(made: Path, tmp_path: Path) -> None:
    """Ten times: only right answers, 503 with Retry-After, or 504; right again soon after it listens."""
    put(made / MODEL / "1", tmp_path / "models" / MODEL / "1")
    with modelyard_serve(tmp_path / "home", "--models-dir", str(tmp_path / "models")) as served:
        gateway = served.gateway.child("services.gateway")
        assert gateway
        back: list[float] = []
        with traffic(served, MODEL) as seen:
            for _ in range(10):
                wait_until(more(seen), 20, "answers")
                server = served.gateway.child("services.modelserver")
                assert server
                server.kill()
                wait_until(lambda: not listens(served.serving_port), 10, "gone")
                before = len(seen.right)
                wait_until(lambda: listens(served.serving_port), 30, "it listens again")
                listening = time.monotonic()
                wait_until(more(seen, 1), 30, "right again")
                back.append(seen.right[before] - listening)
        found = served.gateway.child("services.gateway")
        assert found
        assert found.pid == gateway.pid
    assert (seen.wrong, seen.failed) == ([], [])
    assert seen.refused
    assert max(back) < 4, back


def test_with_two_model_servers_the_death_of_one_loses_nothing(made: Path, tmp_path: Path) -> None:
    """Both work; after one is killed, each request is answered rightly by the other."""
    put(made / MODEL / "1", tmp_path / "models" / MODEL / "1")
    config = config_of(tmp_path / "models", MODEL)
    with gateway_and_servers(tmp_path, config, MODEL, count=2) as served:
        before = [cpu_s(server.process.pid) for server in served.servers]
        with traffic(served, MODEL, clients=8) as seen:
            wait_until(more(seen, 600), 30, "answers of both")
            spent = [cpu_s(server.process.pid) - was for server, was in zip(served.servers, before, strict=True)]
            served.servers[0].process.kill()
            wait_until(more(seen, 600), 30, "answers of the other")
        assert min(spent) > 0.02, spent
    crowded = [answer for answer in seen.refused if "has more to do than it can" in answer.text]
    assert (seen.wrong, seen.failed, seen.late) == ([], [], [])
    others = {answer.text for answer in seen.refused} - {answer.text for answer in crowded}
    assert others == set(), "refused for another reason than that this machine was busy"


def cpu_s(pid: int) -> float:
    used = psutil.Process(pid).cpu_times()
    return float(used.user + used.system)
