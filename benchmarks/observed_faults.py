"""The faults of ``benchmarks.dashboards``: what is done to a running system so that its alerts fire."""

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import psutil

from benchmarks.observed_system import Observed

CAUSES: Mapping[str, str] = {
    "JobsWithoutWorker": "a job for a GPU, where no worker has one",
    "JobsFail": "three jobs with a budget of a second",
    "WorkersLost": "the process of a training killed twice",
    "KeysRefused": "150 requests with a wrong key",
    "VersionLeftOut": "a stable version whose graph was taken away",
    "ModelServerDown": "a model server that is killed each time it is there again",
    "PredictionErrors": "the same, for five minutes",
    "SchedulerDown": "a scheduler that stands still (SIGSTOP)",
    "GatewayDown": "a gateway that stands still",
}
"""By alert."""
MODEL_SERVER_S, STOPPED_S = 420.0, 200.0
TRIES = 150


class Faults:
    """Each does one thing, and undoes it where that can be undone."""

    def __init__(self, system: Observed) -> None:
        self._system = system

    def submit_bad_jobs(self) -> None:
        """One that nobody can take, one that the gate rejects, and three that take too long."""
        jobs: tuple[dict[str, Any], ...] = (
            {"model": "neuron", "overrides": {"devices": "gpu"}},
            {"model": "neuron", "overrides": {"learning_rate": 1e-6}},
            *[{"model": "mnist_mlp", "overrides": {"epochs": 500, "seed": seed}, "budget_s": 1} for seed in range(3)],
        )
        for job in jobs:
            self._submit(job)

    def try_keys(self) -> None:
        """So many that somebody should know of it."""
        headers = {"Authorization": "Bearer myd_000000000000_wrong"}
        with httpx.Client(base_url=self._system.local.url, timeout=10) as http:
            for _ in range(TRIES):
                http.get("/api/models", headers=headers)

    def kill_trainings(self) -> None:
        """Kills the process of a long training twice; then it is cancelled."""
        job = self._submit({"model": "mnist_mlp", "overrides": {"epochs": 500}})
        for attempt in (1, 2):
            process = self._await_training(job, attempt)
            process.kill()
        self._await_training(job, 3)
        self._system.http.post(f"/api/jobs/{job}/cancel")

    def damage_version(self) -> None:
        """Takes away the graph of a version; the scheduler finds it."""
        folder = self._system.local.store.path("logistic", 1)
        (folder / "saved_model.pb").rename(folder / "taken")

    def stop_processes(self, done: Callable[[], bool]) -> None:
        """No model server for minutes, no scheduler and no gateway; until every alert fired."""
        self._keep_away("modelserver", MODEL_SERVER_S)
        stopped = [self._system.process(name) for name in ("scheduler", "gateway")]
        for process in stopped:
            process.suspend()
        deadline = time.monotonic() + STOPPED_S
        while not done() and time.monotonic() < deadline:
            time.sleep(1)
        for process in stopped:
            process.resume()

    def _keep_away(self, name: str, seconds: float) -> None:
        """Kills it as soon as it is there again."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with contextlib.suppress(psutil.NoSuchProcess, KeyError):
                self._system.process(name).kill()
            time.sleep(0.3)

    def _submit(self, job: dict[str, Any]) -> str:
        answer = self._system.http.post("/api/jobs", json={"data": "sample", **job})
        if answer.is_error:
            raise SystemExit(f"{job}: {answer.text}")
        found: str = answer.json()["id"]
        return found

    def _await_training(self, job: str, attempt: int) -> psutil.Process:
        """The process of this attempt, once it trains."""
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline:
            now = self._system.http.get(f"/api/jobs/{job}").json()
            trains = now["attempts"] == attempt and now["progress"].get("stage") == "train"
            if trains and (process := self._system.training()):
                return process
            time.sleep(0.2)
        raise SystemExit(f"{job} does not train in attempt {attempt}: {now}")
