"""Gateways that share a port: each answers a share of the connections, and shows the metrics of all."""

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from modelyard.models.registry.store import Store
from tests.support.fakes import HALF_PLUS, FakeModelServer
from tests.support.http import http
from tests.support.ports import held_port
from tests.support.slim_programs import GatewayProcess, refusal, run_fork
from tests.support.waiting import wait_until

PREDICT = f"/v1/models/{HALF_PLUS}:predict"
PATIENCE_S = 60.0
Start = Callable[[int], GatewayProcess]


@pytest.fixture
def port() -> Iterator[int]:
    with held_port() as found:
        yield found


@pytest.fixture
def start(filled: Store, server: FakeModelServer, port: int, tmp_path: Path) -> Iterator[Start]:
    """Starts the gateway of a number, and returns when it listens."""
    settings = {"port": port, "store": filled.root, "serving": server.address, "gateway_sockets": tmp_path}
    with ExitStack() as running:

        def start_one(number: int) -> GatewayProcess:
            process = running.enter_context(run_fork({**settings, "gateway_number": number}))
            assert process.stderr is not None
            while "listening" not in (line := process.stderr.readline()):
                assert line, "ended before it listened"
            return process

        yield start_one


def count_answers(port: int) -> dict[str, float]:
    """Predictions by the number of the gateway that answered them, as one of them says."""
    text = http.get(f"http://127.0.0.1:{port}/metrics").text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert text.count("# TYPE modelyard_gateway_predictions_total ") == 1
    assert all("worker" not in sample.labels for sample in families["modelyard_waiting_jobs"].samples)
    samples = families["modelyard_gateway_predictions"].samples
    return {each.labels["worker"]: each.value for each in samples if each.name.endswith("_total")}


def predict(port: int, times: int) -> None:
    """Each on a connection of its own."""
    for _ in range(times):
        answer = http.post(f"http://127.0.0.1:{port}{PREDICT}", json={"instances": [[1.0]]})
        assert answer.json() == {"predictions": [[2.5]]}


def test_any_of_them_shows_what_all_have_answered(start: Start, port: int) -> None:
    """Connections come to both; a sample says whose it is; what the whole system is known to be is said once."""
    start(1), start(2)
    predict(port, 40)
    for _ in range(4):  # of whichever it is that is asked
        counts = count_answers(port)
        assert counts.keys() == {"1", "2"}
        assert sum(counts.values()) == 40
        assert all(counts.values())


def test_the_others_answer_for_one_that_ends(start: Start, port: int) -> None:
    """Killed, its samples are gone until it is back, and then begin anew; stopped, it drains."""
    first, second = start(1), start(2)
    predict(port, 20)
    first.kill()
    first.wait(PATIENCE_S)
    predict(port, 20)
    assert count_answers(port).keys() == {"2"}
    start(1)
    wait_until(lambda: predict(port, 1) or "1" in count_answers(port), PATIENCE_S, "connections to the new one")
    second.send_signal(signal.SIGTERM)
    assert second.wait(PATIENCE_S) == 0
    predict(port, 5)
    assert count_answers(port).keys() == {"1"}


def test_a_gateway_of_its_own_does_not_join(start: Start, port: int) -> None:
    """A second one by mistake would take half of the connections: it is refused, as it was."""
    start(1)
    found = refusal(port=port)
    assert found.returncode == 1
    assert "another process listens there" in found.stderr
