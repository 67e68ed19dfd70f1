"""A queue with a real Redis and ledger, and as many real workers as a test starts; no gateway, no model server."""

import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from celery import Celery

from modelyard.pipeline.processes.forkserver import ForkServer
from modelyard.services import broker, jobs
from modelyard.services.cli.processes import redis_server
from modelyard.services.ledger import Job, JobRequest, Ledger, State
from modelyard.services.trainer.process import TITLE
from tests.support.processes import START_S, WAIT_S, Running, running
from tests.support.programs import running_fork
from tests.support.rehearsals import share_rehearsals
from tests.support.waiting import wait_until
from tests.system.conftest import folders

TRAINED_S = 480.0
SHORT: Mapping[str, Any] = {"model": "neuron", "epochs": 2}
"""A job that passes its gate and takes little time."""


@dataclass
class TrainingCluster:
    """A queue, and as many workers as a test starts."""

    home: Path
    ledger: Ledger
    ledger_url: str
    queue: Celery
    forks: ForkServer
    workers: ExitStack = field(default_factory=ExitStack)
    redis: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        return self.home / "redis.sock"

    def start_redis(self) -> None:
        """With what it had when it ended."""
        command = redis_server.build_command(redis_server.find_server(), self.socket, self.home)
        self.redis = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        wait_until(lambda: redis_server.is_answering(self.socket), WAIT_S, "redis")

    def end_redis(self, how: int = signal.SIGTERM) -> None:
        assert self.redis
        self.redis.send_signal(how)
        self.redis.wait(WAIT_S)

    @property
    def settings(self) -> dict[str, str]:
        """Of every process."""
        return {
            "MODELYARD_STORE": str(self.home / "store"),
            "MODELYARD_WORK_DIR": str(self.home / "work"),
            "MODELYARD_LEDGER_URL": self.ledger_url,
            "MODELYARD_BROKER_URL": redis_server.make_broker_url(self.socket),
            "MODELYARD_SERVING": "",
            "MODELYARD_DRAIN_S": "1",
        }

    def worker(self, name: str, *, forked: bool = True, **more: str) -> Running:
        """A fork, unless the start of its interpreter matters."""
        log, settings = self.home / f"{name}.log", self.settings | more
        share_rehearsals(self.home / "work")
        program = (
            running_fork(self.forks, log, "worker", **settings)
            if forked
            else running(log, "modelyard.services.trainer", **settings)
        )
        started = self.workers.enter_context(program)
        wait_until(lambda: " ready." in started.printed, START_S, f"worker {name}")
        return started

    def submit(
        self,
        model: str = "mnist_mlp",
        *,
        budget_s: float | None = None,
        priority: Any = "normal",
        rollout: Any = "manual",
        **overrides: Any,
    ) -> Job:
        asked = JobRequest(
            model=model, data="sample", rollout=rollout, overrides=overrides, budget_s=budget_s, priority=priority
        )
        return jobs.submit(self.ledger, self.queue, asked, by="test")

    def job(self, job: Job) -> Job:
        return self.ledger.jobs.get(job.id)

    def in_epoch(self, job: Job, least: int) -> bool:
        """Whether it got so far; it may be further by now."""
        return any(body.get("epoch", 0) >= least for body in (self.job(job).progress, *self.milestones(job)))

    def has_reached(self, job: Job, stage: str) -> bool:
        """Likewise."""
        return any(body.get("stage") == stage for body in self.milestones(job))

    def milestones(self, job: Job) -> list[Mapping[str, Any]]:
        return [event.body for event in self.ledger.jobs.list_events(job.id) if event.kind == "progress"]

    def await_end(self, job: Job) -> Job:
        found: Job = wait_until(lambda: (now := self.job(job)).finished_at and now, TRAINED_S, f"the end of {job.id}")
        return found

    def starts(self, job: Job) -> int:
        """How often it was started, by its events."""
        return sum(event.body.get("state") == State.RUNNING for event in self.ledger.jobs.list_events(job.id))

    def epochs(self, job: Job) -> list[int]:
        """Those that ended, over all attempts, in the order in which they did."""
        ended = [body for body in self.milestones(job) if body.get("step") and body["step"] == body.get("steps")]
        return [body["epoch"] for body in ended]

    def messages(self, job: Job) -> list[str]:
        """Messages of its progress, and reasons of its states."""
        bodies = [event.body for event in self.ledger.jobs.list_events(job.id)]
        return [str(body.get("message") or body.get("reason") or "") for body in bodies]

    def left(self, job: Job) -> list[Path]:
        return folders(self.home, f"*{job.id}*")


@contextmanager
def open_cluster(home: Path, forks: ForkServer, ledger_url: str | None = None) -> Iterator[TrainingCluster]:
    """A cluster with its Redis, in a folder that has a store; its ledger is a file there unless given."""
    url = ledger_url or f"sqlite:///{home}/ledger.db"
    ledger = Ledger(url)
    ledger.prepare()
    queue = broker.make_sender(redis_server.make_broker_url(home / "redis.sock"))
    found = TrainingCluster(home, ledger, url, queue, forks)
    try:
        found.start_redis()
        with found.workers:
            yield found
    finally:
        ledger.close()
        found.end_redis()


def child_of(worker: Running, other_than: int = 0) -> psutil.Process:
    def find_other() -> psutil.Process | None:
        found = worker.child_named(TITLE)
        return found if found and found.pid != other_than else None

    found: psutil.Process = wait_until(find_other, START_S, "the training process")
    return found
