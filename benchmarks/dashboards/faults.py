"""The faults of ``benchmarks.dashboards``: what is done to a running system so that its alerts fire.

Each is done to real processes, files and connections, and undone where it can be. Two alerts are about an hour and a
week: there only a date is another one.
"""

import contextlib
import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.broken_version import publish_broken
from benchmarks.dashboards.load import CANARY
from benchmarks.dashboards.system import Observed
from modelyard.models.registry.rollout import Rollout, change_rollout, read_rollout

STANDS_STILL = "a gateway that stands still for half a second, and a model server for two, again and again"
LOCKED = "a ledger whose file another process locks"
HANGS_UP = "a bucket that hangs up on everybody"
CAUSES: Mapping[str, str] = {
    "JobsWithoutWorker": "a job for a GPU, where no worker has one",
    "JobsFail": "three jobs with a budget of a second",
    "WorkersLost": "the process of a training killed twice",
    "KeysRefused": "150 requests with a wrong key",
    "NotificationsFail": "a receiver that answers 500",
    "InputsDrift": "digits of three kinds, in a printer's font, for half an hour",
    "InputsUnlikeTraining": "pictures of noise, half of what one model is asked, for half an hour",
    "JobsWaitLong": "a job that nobody can take, submitted an hour ago by its row in the ledger",
    "CanaryWaits": "a canary that began eight days ago by its rollout",
    "VersionLeftOut": "a stable version whose graph was taken away",
    "VersionNotLoaded": "a stable version whose graph is none, though its hashes are right",
    "EventLoopHeld": STANDS_STILL,
    "PredictionsSlow": STANDS_STILL,
    "DiskFull": "a disk that is filled to 95 %",
    "LedgerAway": LOCKED,
    "SchedulerDutyFails": LOCKED,
    "CaptureDropped": LOCKED,
    "SyncFails": HANGS_UP,
    "ModelsNotFollowed": HANGS_UP,
    "ModelServerDown": "a model server that is killed each time it is there again",
    "PredictionErrors": "the same, for five minutes",
    "SchedulerDown": "a scheduler that stands still (SIGSTOP)",
    "GatewayDown": "a gateway that stands still",
}
"""By alert."""
MODEL_SERVER_S, STOPPED_S = 420.0, 200.0
LONG_S, PULSES_S, LOCK_S, SHORT_S = 2400.0, 1200.0, 420.0, 300.0
"""How long the alerts of a fault are waited for, at most."""
GATEWAY_STOP_S, MODEL_SERVER_STOP_S, GO_S = 0.5, 2.0, 1.5
WITHHELD_S = 60.0
TRIES = 150
FREE_SHARE = 0.05
DAMAGED = "logistic"
WAL_LOCKS = (120, 8)
"""First byte and number of the locks of a write-ahead log, in the file ``-shm`` (sqlite.org/walformat.html)."""
Alerts = Callable[[], set[str]]


class Faults:
    """Each does one thing, and undoes it where that can be undone."""

    def __init__(self, system: Observed, seen: Alerts) -> None:
        """``seen``: the alerts that have fired so far."""
        self._system, self._seen = system, seen

    def submit_bad_jobs(self) -> None:
        """One that nobody can take, one that the gate rejects, and three that take too long."""
        jobs: tuple[dict[str, Any], ...] = (
            {"model": "neuron", "overrides": {"learning_rate": 1e-6}},
            *[{"model": "mnist_mlp", "overrides": {"epochs": 500, "seed": seed}, "budget_s": 1} for seed in range(3)],
        )
        for job in jobs:
            self._submit(job)
        self._date_back_job(self._submit({"model": "neuron", "overrides": {"devices": "gpu"}}))

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
        self._system.http.post(f"/api/jobs/{job}:cancel").raise_for_status()

    def date_back_canary(self) -> None:
        """Once it is there; its evidence begins anew."""
        store, began = self._system.local.store, datetime.now(UTC) - timedelta(days=8)

        def edit(now: Rollout) -> Rollout:
            return now.model_copy(update={"canary": now.canary and now.canary.model_copy(update={"since": began})})

        wait(lambda: read_rollout(store, CANARY).canary is not None, SHORT_S)
        change_rollout(store, CANARY, edit)

    def break_version(self) -> None:
        """Promotes one whose graph is none; then the one of before."""
        self._promote(publish_broken(self._system.local.store, DAMAGED, 1))
        self._await("VersionNotLoaded")
        self._promote(1)

    def _promote(self, version: int) -> None:
        store, reason = self._system.local.store, "a graph that is none"
        change_rollout(store, DAMAGED, lambda now: now.promote(version, by="benchmark", reason=reason))

    def break_bucket(self) -> None:
        """It keeps new versions back for a while, and then everything, for the rest of the time."""
        self._system.bucket.withhold_new(self._system.local.store)
        time.sleep(WITHHELD_S)
        self._system.bucket.hang_up()

    def pulse(self) -> None:
        """Gateway and model server stand still for moments, until both alerts about slowness fired."""
        deadline = time.monotonic() + PULSES_S
        while not {"EventLoopHeld", "PredictionsSlow"} <= self._seen() and time.monotonic() < deadline:
            with (
                contextlib.suppress(psutil.NoSuchProcess, KeyError),
                standing_still(self._system.process("modelserver")),
            ):
                time.sleep(MODEL_SERVER_STOP_S / 2)  # by now requests wait, so the gateway's loop is in use
                with standing_still(self._system.process("gateway")):
                    time.sleep(GATEWAY_STOP_S)
                time.sleep(MODEL_SERVER_STOP_S / 2)
            time.sleep(GO_S)

    @contextmanager
    def full_disk(self) -> Iterator[None]:
        """In the block, where the system has a disk of its own."""
        if not self._system.has_own_disk:
            print("no disk of its own: DiskFull cannot be caused without harm", flush=True)
            yield
            return
        file = self._system.local.home / "filler"
        fill(file, FREE_SHARE)
        try:
            yield
            self._await("DiskFull")
        finally:
            file.unlink()

    def lock_ledger(self) -> None:
        """Until all alerts about it fired."""
        wanted = ("LedgerAway", "SchedulerDutyFails", "CaptureDropped")
        with locked(self._system.local.home / "ledger.db"):
            self._await(*wanted, timeout_s=LOCK_S)

    def await_long(self) -> None:
        """What is only seen after half an hour, by what the load has done since the beginning; and the bucket."""
        self._await("InputsDrift", "InputsUnlikeTraining", "SyncFails", "ModelsNotFollowed", timeout_s=LONG_S)

    def stop_model_server(self) -> None:
        """There is none for minutes; and the graph of a stable version is gone, which the scheduler looks for then."""
        folder = self._system.local.store.path(DAMAGED, 1)
        (folder / "saved_model.pb").rename(folder / "taken")
        deadline = time.monotonic() + MODEL_SERVER_S
        while time.monotonic() < deadline:
            with contextlib.suppress(psutil.NoSuchProcess, KeyError):
                self._system.process("modelserver").kill()
            time.sleep(0.3)
        (folder / "taken").rename(folder / "saved_model.pb")

    def stop_processes(self) -> None:
        """Neither a scheduler nor a gateway, until both alerts fired."""
        with standing_still(*(self._system.process(name) for name in ("scheduler", "gateway"))):
            self._await("SchedulerDown", "GatewayDown", timeout_s=STOPPED_S)

    def _await(self, *alerts: str, timeout_s: float = SHORT_S) -> None:
        wait(lambda: set(alerts) <= self._seen(), timeout_s)

    def _submit(self, job: dict[str, Any]) -> str:
        answer = self._system.http.post("/api/jobs", json={"data": "sample", **job})
        if answer.is_error:
            raise SystemExit(f"{job}: {answer.text}")
        found: str = answer.json()["id"]
        return found

    def _date_back_job(self, job: str) -> None:
        with closing(sqlite3.connect(self._system.local.home / "ledger.db", timeout=30)) as ledger, ledger:
            ledger.execute("UPDATE jobs SET created_at = datetime(created_at, '-61 minutes') WHERE id = ?", (job,))

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


def wait(condition: Callable[[], bool], timeout_s: float) -> None:
    """Until it holds, or for so long."""
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(1)


@contextmanager
def standing_still(*processes: psutil.Process) -> Iterator[None]:
    """In the block."""
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Nobody else reads or writes a SQLite database in the block, as when a program holds its locks."""
    file = os.open(f"{database}-shm", os.O_RDWR)
    try:
        for byte in range(WAL_LOCKS[0], sum(WAL_LOCKS)):  # each as soon as its holder lets it go
            fcntl.lockf(file, fcntl.LOCK_EX, 1, byte)
        yield
    finally:
        os.close(file)


def fill(file: Path, free_share: float) -> None:
    """Leaves so much of its disk."""
    found = os.statvfs(file.parent)
    with file.open("wb") as out:
        left = int((found.f_bavail - free_share * found.f_blocks) * found.f_frsize)
        os.posix_fallocate(out.fileno(), 0, max(left, 1))
