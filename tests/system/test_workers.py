"""Jobs on real workers, Redis and ledger: whatever is killed, a job is finished or explained, and published once."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from celery import Celery

from models.store import Store
from services import jobs
from services.cli import redis_server
from services.ledger import Job, Ledger, State
from tests.system.conftest import wait_until
from tests.system.serving import Running, running

CHILD = "services.trainer.child"
LONG = {"epochs": 20, "min_steps": 300}
TRAINED_S = 240.0


@dataclass
class Shop:
    """A queue, and as many workers as a test starts."""

    home: Path
    ledger: Ledger
    queue: Celery
    workers: ExitStack = field(default_factory=ExitStack)

    def worker(self, name: str) -> Running:
        settings = {
            "MODELYARD_STORE": str(self.home / "store"),
            "MODELYARD_WORK_DIR": str(self.home / "work"),
            "MODELYARD_LEDGER_URL": f"sqlite:///{self.home}/ledger.db",
            "MODELYARD_BROKER_URL": redis_server.broker_url(self.home / "redis.sock"),
            "MODELYARD_SERVING": "",
            "MODELYARD_DRAIN_S": "1",
        }
        started = self.workers.enter_context(running(self.home / f"{name}.log", "services.trainer", **settings))
        wait_until(lambda: " ready." in started.printed, 90, f"worker {name}")
        return started

    def submit(
        self, model: str = "mnist_mlp", *, budget_s: float | None = None, priority: Any = "normal", **overrides: Any
    ) -> Job:
        asked = jobs.TrainJob(
            model=model, data="sample", rollout="manual", overrides=overrides, budget_s=budget_s, priority=priority
        )
        return jobs.submit(self.ledger, self.queue, asked, by="test")

    def job(self, job: Job) -> Job:
        return self.ledger.job(job.id)

    def in_epoch(self, job: Job, least: int) -> bool:
        return bool(self.job(job).progress.get("epoch", 0) >= least)

    def ended(self, job: Job) -> Job:
        found: Job = wait_until(lambda: (now := self.job(job)).finished_at and now, TRAINED_S, f"the end of {job.id}")
        return found

    def epochs(self, job: Job) -> list[int]:
        """Those that ended, over all attempts, in the order in which they did."""
        bodies = [event.body for event in self.ledger.events(job.id) if event.kind == "progress"]
        return [body["epoch"] for body in bodies if body.get("step") and body["step"] == body.get("steps")]

    def said(self, job: Job) -> list[str]:
        """Messages of its progress, and reasons of its states."""
        bodies = [event.body for event in self.ledger.events(job.id)]
        return [str(body.get("message") or body.get("reason") or "") for body in bodies]

    def left(self, job: Job) -> list[Path]:
        return [path for path in self.home.rglob(f"*{job.id}*") if path.is_dir()]


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that says what can be trained, so that workers need not find out."""
    store = tmp_path_factory.mktemp("known")
    subprocess.run([sys.executable, "-m", "models.catalog", str(store)], check=True, timeout=120)
    return store


@pytest.fixture
def shop(tmp_path: Path, known: Path) -> Iterator[Shop]:
    shutil.copytree(known, tmp_path / "store")
    socket = tmp_path / "redis.sock"
    command = redis_server.command(redis_server.find_server(), socket, tmp_path)
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    ledger.prepare()
    found = Shop(tmp_path, ledger, jobs.sender(redis_server.broker_url(socket)))
    try:
        wait_until(lambda: redis_server.answers(socket), 20, "redis")
        with found.workers:
            yield found
    finally:
        ledger.close()
        server.terminate()
        server.wait(20)


def child_of(worker: Running, other_than: int = 0) -> psutil.Process:
    def look() -> psutil.Process | None:
        found = worker.child(CHILD)
        return found if found and found.pid != other_than else None

    found: psutil.Process = wait_until(look, 90, "the training process")
    return found


def assert_went_on(shop: Shop, job: Job, *, epochs: int) -> Job:
    """Two attempts, every epoch in order, at most one of them twice, at most one version, and nothing left behind."""
    ended = shop.ended(job)
    assert ended.state in (State.SUCCEEDED, State.REJECTED), ended.result
    assert ended.attempts == 2
    assert any(text.startswith("going on after epoch") for text in shop.said(job))
    seen = shop.epochs(job)
    assert seen == sorted(seen)
    assert set(seen) >= set(range(1, epochs + 1)) - {max(seen[:1])}
    assert len(seen) - len(set(seen)) <= 1
    published = [ended.result["version"]] if ended.state is State.SUCCEEDED else []
    assert list(Store(shop.home / "store").versions(job.model)) == published
    wait_until(lambda: not shop.left(job), 10, "no folder is left")
    return ended


def test_a_killed_training_process_goes_on_from_its_last_checkpoint(shop: Shop) -> None:
    """SIGKILL in the middle of an epoch: the same worker starts it again; what was done is not done again."""
    worker = shop.worker("one")
    job = shop.submit(**LONG)
    wait_until(lambda: shop.in_epoch(job, 3), TRAINED_S, "the third epoch")
    child_of(worker).send_signal(signal.SIGKILL)
    assert_went_on(shop, job, epochs=LONG["epochs"])
    assert "the training process was ended by SIGKILL (out of memory?)" in shop.said(job)


def test_a_process_that_always_dies_fails_its_job_and_holds_up_no_other(shop: Shop) -> None:
    """Three attempts, then FAILED with the reason; the worker takes the next job."""
    worker = shop.worker("one")
    job, dead = shop.submit(**LONG), 0
    for _ in range(3):
        child = child_of(worker, other_than=dead)
        dead = child.pid
        child.send_signal(signal.SIGSEGV)
    ended = shop.ended(job)
    assert (ended.state, ended.attempts) == (State.FAILED, 3)
    assert ended.result["reason"] == "the training process was ended by SIGSEGV, in attempt 3"
    assert shop.ended(shop.submit("neuron")).state is State.SUCCEEDED
    wait_until(lambda: not shop.left(job), 10, "no folder is left")


def test_a_worker_that_is_told_to_stop_hands_its_job_to_another(shop: Shop) -> None:
    """SIGTERM in the middle: it ends with 0, and who is free goes on from the checkpoint; no lease is waited for."""
    first = shop.worker("first")
    job = shop.submit(**LONG)
    wait_until(lambda: shop.in_epoch(job, 3), TRAINED_S, "the third epoch")
    shop.worker("second")
    first.process.send_signal(signal.SIGTERM)
    assert first.process.wait(30) == 0
    wait_until(lambda: shop.job(job).state is State.RUNNING and shop.job(job).attempts == 2, 15, "the second worker")
    assert_went_on(shop, job, epochs=LONG["epochs"])
    assert "its worker stopped" in shop.said(job)


def test_a_worker_that_vanishes_is_taken_over_when_its_lease_has_run_out(shop: Shop) -> None:
    """SIGKILL of all its processes, as when a machine is lost: another one goes on, and it is published once."""
    first = shop.worker("first")
    job = shop.submit(**LONG)
    wait_until(lambda: shop.in_epoch(job, 3), TRAINED_S, "the third epoch")
    shop.worker("second")
    for process in [psutil.Process(first.process.pid), *psutil.Process(first.process.pid).children(recursive=True)]:
        os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: shop.job(job).attempts == 2, 100, "the second worker")
    assert_went_on(shop, job, epochs=LONG["epochs"])


def test_a_job_whose_time_is_used_up_fails_and_is_not_run_again(shop: Shop) -> None:
    """The budget counts from the start, over all attempts; a process that does not hear is gone soon after."""
    worker = shop.worker("one")
    job = shop.submit(budget_s=15, **LONG)
    child = child_of(worker)
    wait_until(lambda: shop.in_epoch(job, 1), TRAINED_S, "the first epoch")
    child.suspend()  # as if it hung in native code
    ended = shop.ended(job)
    assert (ended.state, ended.attempts) == (State.FAILED, 1)
    assert ended.result["reason"] == "timeout: its time budget of 15 s is used up"
    assert ended.started_at
    assert ended.finished_at
    assert 15 <= (ended.finished_at - ended.started_at).total_seconds() < 15 + 5 + 2
    assert not child.is_running()
    wait_until(lambda: not shop.left(job), 10, "no folder is left")
    assert shop.ledger.claim(job.id, "another") is None


def test_urgent_jobs_start_before_those_that_waited_longer(shop: Shop) -> None:
    """Twenty of low priority are queued before one of high; the worker then takes that one first."""
    waiting = [shop.submit("neuron", priority="low") for _ in range(20)]
    usual, urgent = shop.submit("neuron"), shop.submit("neuron", priority="high")
    shop.worker("one")
    for job in (urgent, usual):
        wait_until(lambda job=job: shop.job(job).started_at, 90, "its start")
        assert [early.id for early in waiting if shop.job(early).started_at] == []
        shop.ledger.cancel(job.id, "the test")
    wait_until(lambda: any(shop.job(job).started_at for job in waiting), 90, "the start of another")
    first = shop.job(waiting[0])
    assert first.started_at, "of equal priority, the oldest goes first"
    for job in waiting:
        shop.ledger.cancel(job.id, "the test")


def test_a_job_is_trained_on_the_backend_of_its_recipe(shop: Shop) -> None:
    """One worker trains on either, one job after the other; each version says on which."""
    shop.worker("one")
    asked = ("jax", "tensorflow")
    ended = [shop.ended(job) for job in [shop.submit("neuron", backend=name) for name in asked]]
    versions = [job.result["version"] for job in ended]
    found = [Store(shop.home / "store").manifest("neuron", version).environment for version in versions]
    assert [(one.backend, one.device) for one in found] == [(name, "cpu") for name in asked]


def test_too_few_devices_fail_a_job_with_the_reason(shop: Shop) -> None:
    """Before it trains: here it was put into the queue of a worker that has no GPU."""
    shop.worker("one")
    ended = shop.ended(shop.submit("neuron", devices=2))
    assert ended.state is State.FAILED
    assert ended.result["reason"].startswith("recipe key 'devices': expected 2 GPUs, but tensorflow sees cpu:0")


def test_what_a_jobs_processes_wrote_is_kept(shop: Shop) -> None:
    """In the ledger, where those can read it who cannot see the worker: here the traceback of what nobody expected."""
    worker = shop.worker("one")
    job = shop.submit(**LONG)
    child = child_of(worker)
    wait_until(lambda: shop.in_epoch(job, 1), TRAINED_S, "the first epoch")
    shutil.rmtree(shop.home / "work" / "checkpoints" / job.id)
    ended = shop.ended(job)
    assert ended.state is State.FAILED, child
    assert "Traceback" in shop.ledger.log(job.id)
    assert "Traceback" in worker.printed
