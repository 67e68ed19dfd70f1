"""The whole loop through real processes: redis-server, Celery worker, model server over gRPC, Flask gateway."""

import json
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import numpy as np
import pytest

from modelyard.models.registry.store import Store
from modelyard.pipeline.processes.forkserver import ForkServer
from modelyard.services.trainer.process import TITLE
from tests.support.http import http
from tests.support.programs import run_command
from tests.support.signals import standing_still
from tests.support.waiting import wait_until
from tests.system.conftest import FINISHED_S, System, folders

PREDICT = "/v1/models/mnist_mlp:predict"
WAIT_S = 120.0
"""For what takes seconds on a machine with nothing else to do."""
FEW = {"epochs": 3, "min_steps": 150, "seed": 1}
"""Enough for the gate."""
ENDLESS = {"epochs": 1000, "batch_size": 1, "min_steps": 10_000_000}
"""A training that is not over before it is cancelled, on whatever machine."""


@pytest.fixture
def images(system: System) -> list[Any]:
    """One image, as it stands in a body: the manifest's own example."""
    store = Store(system.home / "store")
    return [store.manifest("mnist_mlp", store.versions("mnist_mlp")[0]).example]


@dataclass
class Traffic:
    """Responses to one repeated request, by version, so that wrong ones are found."""

    url: str
    body: dict[str, Any]
    answers: list[tuple[str, list[float]]] = field(default_factory=list)
    refused: list[httpx.Response] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def ask(self, client: httpx.Client) -> None:
        try:
            response = client.post(self.url, json=self.body)
        except httpx.HTTPError as error:
            self.failed.append(repr(error))
            return
        if response.status_code == httpx.codes.OK:
            (prediction,) = response.json()["predictions"]
            self.answers.append((response.headers["X-Model-Version"], prediction["probabilities"]))
        elif response.status_code == httpx.codes.SERVICE_UNAVAILABLE and "Retry-After" in response.headers:
            self.refused.append(response)
        else:
            self.failed.append(f"{response.status_code} {response.text}")


@contextmanager
def traffic(system: System, images: list[Any]) -> Iterator[Traffic]:
    """Two clients that send request after request."""
    found = Traffic(system.url + PREDICT, {"instances": images})
    stop = threading.Event()

    def client() -> None:
        with httpx.Client(timeout=30) as http:
            while not stop.wait(0.1):  # more requests would take the trainer's processor
                found.ask(http)

    threads = [threading.Thread(target=client) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield found
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def printed_lines(system: System) -> list[str]:
    """Every curl line that ``up`` prints: a picture, a number, a job."""
    return re.findall(r"^  (curl .*)$", system.printed, re.MULTILINE)


def paste(line: str) -> Any:
    """Its answer, which is JSON."""
    return json.loads(subprocess.check_output(line, shell=True, timeout=WAIT_S))


def shorten(line: str) -> str:
    """The same job with fewer steps, and other weights than those of the version that is there."""
    whole, fewer = json.dumps({"model": "mnist_mlp"}), json.dumps({"model": "mnist_mlp", "overrides": FEW})
    assert whole in line
    return line.replace(whole, fewer)


def test_the_printed_lines_work_when_pasted(system: System) -> None:
    """They answer with JSON: a labelled image, a number; the third is pasted in the next test but one."""
    picture, row, _ = printed_lines(system)
    labelled, number = paste(picture), paste(row)
    assert labelled["label"] in [str(digit) for digit in range(10)]
    assert labelled["data"] == "sample"
    assert len(number["predictions"]) == 1


def test_the_table_says_what_serves_and_that_it_is_a_sample(system: System) -> None:
    """Model, version, test metric, dataset with its mark, and address."""
    (row,) = (line for line in system.printed.splitlines() if line.startswith("mnist_mlp ") and "http" in line)
    assert "accuracy 0." in row
    assert "scikit-learn digits (sample, not for real use)" in row
    assert f"{system.url}{PREDICT}" in row


def test_a_version_changes_under_traffic_without_a_wrong_or_lost_response(system: System, images: list[Any]) -> None:
    """Each response equals a later one of the version that it names; none failed or was refused.

    The job is the one of the printed line; the traffic begins before its version is there.
    """
    before = system.get("/api/models/mnist_mlp")["rollout"]["stable"]
    job = paste(shorten(printed_lines(system)[-1]))
    assert job["state"] == "queued"
    behind = ("export", "evaluate")
    wait_until(lambda: system.get(f"/api/jobs/{job['id']}")["stage"] in behind, FINISHED_S, "a trained model")
    with traffic(system, images) as seen:
        wait_until(lambda: seen.answers, WAIT_S, "answers of the old version")
        ended = system.finished(job["id"])
        assert ended["state"] == "succeeded", ended
        after = system.get("/api/models/mnist_mlp")["rollout"]["stable"]
        wait_until(lambda: seen.answers[-1][0] == str(after), WAIT_S, "the new version answers")
    assert after == ended["version"] == before + 1
    assert (seen.failed, seen.refused) == ([], [])
    assert {version for version, _ in seen.answers} == {str(before), str(after)}
    for version in (before, after):
        pinned = http.post(f"{system.url}/v1/models/mnist_mlp/versions/{version}:predict", json={"instances": images})
        expected = pinned.json()["predictions"][0]["probabilities"]
        answers = [answer for named, answer in seen.answers if named == str(version)]
        np.testing.assert_allclose(answers, [expected] * len(answers), atol=1e-5)


@pytest.mark.long
def test_a_rejected_version_changes_nothing(system: System) -> None:
    """The gate's reason is on the job; nothing was published, and the same version goes on answering."""
    before = system.get("/api/models/neuron")
    job = system.submit(model="neuron", overrides={"learning_rate": 1e-9, "epochs": 1}).json()
    ended = system.finished(job["id"])
    assert ended["state"] == "rejected"
    assert "below the floor" in ended["result"]["reason"]
    assert system.get("/api/models/neuron")["rollout"] == before["rollout"]
    assert list((system.home / "store" / "neuron").glob(".staging-*")) == []
    assert list((system.home / "work").glob("job-*")) == []


@pytest.mark.parametrize(
    ("job", "status", "text"),
    [
        ({"model": "mnist_ml"}, 404, "did you mean mnist_mlp"),
        ({"model": "neuron", "recipe": "quik"}, 400, "did you mean quick"),
        ({"model": "neuron", "overrides": {"epoch": 1}}, 400, "did you mean epochs"),
        ({"model": "neuron", "colour": "red"}, 400, "colour"),
        ({}, 400, "model"),
    ],
)
def test_a_job_that_cannot_be_done_is_refused_by_the_gateway(
    system: System, job: dict[str, Any], status: int, text: str
) -> None:
    """With the closest valid names, and without a row in the ledger."""
    before = jobs(system)
    response = system.submit(**job)
    assert response.status_code == status
    assert text in response.json()["error"]
    assert jobs(system) == before


def jobs(system: System, **query: Any) -> list[str]:
    """Ids of the newest."""
    return [job["id"] for job in system.get(f"/api/jobs?{urlencode(query)}")["jobs"]]


def test_a_recipe_value_out_of_range_is_refused_with_the_range(system: System) -> None:
    """By what the trainers announced, before there is a job."""
    refused = system.submit(model="neuron", overrides={"epochs": 0})
    assert refused.status_code == 400
    assert "recipe key 'epochs': received 0, allowed: a whole number from 1 to 1,000" in refused.json()["error"]


def test_a_running_job_that_is_cancelled_stops_and_leaves_nothing(system: System) -> None:
    """Soon: no process, no version, no folder. It stays cancelled, and the worker takes the next job."""
    store, model = Store(system.home / "store"), "neuron"
    before = store.versions(model)
    job = system.submit(model=model, overrides=ENDLESS).json()
    wait_until(lambda: system.get(f"/api/jobs/{job['id']}")["stage"] == "train", FINISHED_S, "training")
    cancelled = system.cancel(job["id"])
    assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
    wait_until(lambda: not system.named(TITLE), WAIT_S, "the end of the training process")
    wait_until(lambda: not folders(system.home, f"*{job['id']}.*"), WAIT_S, "no folder is left")
    follow_up = system.submit(model="neuron", overrides={"epochs": 2}, rollout="none").json()
    assert system.finished(follow_up["id"])["state"] == "succeeded"
    assert system.get(f"/api/jobs/{job['id']}")["state"] == "cancelled"
    assert store.versions(model) == before
    assert system.cancel(follow_up["id"]).status_code == 409


def test_predictions_go_on_without_redis_and_jobs_are_refused_not_lost(system: System, images: list[Any]) -> None:
    """kill -9 of Redis: no prediction fails; a submission meanwhile is 503, never a false 202; then jobs work again."""
    with traffic(system, images) as seen:
        redis = system.find("-server", "unixsocket")
        assert redis
        with standing_still(redis):  # does not answer, and is not restarted yet
            refused = system.submit(model="neuron")
            redis.send_signal(signal.SIGKILL)
        assert refused.status_code == httpx.codes.SERVICE_UNAVAILABLE, refused.text
        assert int(refused.headers["Retry-After"]) >= 1
        accepted = wait_until(lambda: _accepted(system), WAIT_S, "the queue works again")
        count = len(seen.answers)
        assert system.finished(accepted["id"])["state"] == "succeeded"
        assert len(seen.answers) > count
    assert (seen.failed, seen.refused) == ([], [])


def _accepted(system: System) -> dict[str, Any] | None:
    response = system.submit(model="neuron", overrides={"epochs": 2}, rollout="none")
    found: dict[str, Any] = response.json()
    return found if response.status_code == httpx.codes.ACCEPTED else None


def test_a_killed_model_server_comes_back_without_a_restart_of_the_gateway(system: System, images: list[Any]) -> None:
    """Right answers, then 503 with Retry-After, then right answers from the same gateway process."""
    gateway = system.find("modelyard.services.gateway")
    server = system.find("modelyard.services.modelserver")
    assert gateway
    assert server
    with traffic(system, images) as seen:
        wait_until(lambda: seen.answers, WAIT_S, "answers before")
        server.send_signal(signal.SIGKILL)
        wait_until(lambda: seen.refused, WAIT_S, "refusals")
        count = len(seen.answers)
        wait_until(lambda: len(seen.answers) > count + 10, FINISHED_S, "answers after")
    assert seen.failed == []
    answers = [answer for _, answer in seen.answers]
    np.testing.assert_allclose(answers, [answers[0]] * len(answers), atol=1e-5)
    assert gateway.is_running()
    assert system.find("modelyard.services.gateway").pid == gateway.pid


def test_a_second_up_on_the_same_folder_is_refused(system: System, forks: ForkServer) -> None:
    """One line, exit status 1, and the first one goes on."""
    found = _run_up(forks, System(system.home, system.arguments))
    assert found.returncode == 1
    assert b"is already up" in found.stderr
    assert system.get("/healthz")


def test_a_taken_port_is_one_line_with_the_way_out(system: System, tmp_path: Path, forks: ForkServer) -> None:
    """Another folder, the same port."""
    found = _run_up(forks, System(tmp_path / "home", (), port=system.port))
    assert found.returncode == 1
    assert f"port {system.port} is taken".encode() in found.stderr
    assert b"--port" in found.stderr


def _run_up(forks: ForkServer, wanted: System) -> subprocess.CompletedProcess[bytes]:
    ports = ("--port", str(wanted.port), "--serving-port", str(wanted.serving_port))
    given = ("up", "--home", str(wanted.home), *ports, *wanted.arguments)
    return run_command(forks, *given, timeout_s=WAIT_S, COLUMNS="200")
