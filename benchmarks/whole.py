"""A whole system for benchmarks: Redis, model server, gateway and trainers as `modelyard up` starts them."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from benchmarks.served import free_ports
from modelyard.client import Client
from modelyard.services.cli.commands.local.up import LocalSystem, make_services, train_missing, wait_until_serving
from modelyard.services.cli.processes import launch
from modelyard.services.cli.processes.supervisor import Supervisor
from modelyard.services.ledger import Ledger
from modelyard.services.trainer.process import TITLE

REDIS, MODEL_SERVER, TRAINER = "redis", "modelserver", "trainer"


@dataclass(frozen=True)
class Line:
    """One line of a trainer's log."""

    at: datetime
    event: str
    job: str | None
    jobs: Sequence[str] = ()
    """Where it speaks of several."""


@dataclass(frozen=True)
class Whole:
    """What runs, and what it leaves behind."""

    local: LocalSystem
    supervisor: Supervisor
    client: Client
    ledger: Ledger
    trainers: Sequence[str]
    """Their names; each runs one job at a time."""

    def process(self, name: str) -> psutil.Process:
        return psutil.Process(self.supervisor.pids()[name])

    def training(self, trainer: str) -> psutil.Process | None:
        """The process that trains for it."""
        for process in self.process(trainer).children(recursive=True):
            if process.name() == TITLE:
                return process
        return None

    def log(self, trainer: str) -> list[Line]:
        """Its own log, oldest line first."""
        content = (self.local.home / "log" / f"{trainer}.log").read_bytes()
        return [line for text in content.splitlines() if (line := parsed(text))]

    def job_of(self, trainer: str) -> str | None:
        """The job that it runs."""
        for line in reversed(self.log(trainer)):
            if line.event in ("job started", "job released", "starting"):
                return line.job if line.event == "job started" else None
        return None


def parsed(text: bytes) -> Line | None:
    try:
        entry: dict[str, Any] = json.loads(text)
        at = datetime.fromisoformat(entry["timestamp"]).astimezone(UTC)
        return Line(at, str(entry["event"]), entry.get("job"), entry.get("jobs", ()))
    except (ValueError, KeyError, TypeError):
        return None


@contextmanager
def whole(home: Path, model: str, trainers: int, say: Callable[[str], None]) -> Iterator[Whole]:
    """Until the end of the block; serves a first version of ``model`` when it begins."""
    port, serving_port = free_ports(2)
    system = LocalSystem(home, home / "data", port, serving_port, workers=1)
    system.store.prepare()
    *others, trainer = make_services(system, launch.make_private_folder(home) / "redis.sock", [model], gpu_names=())
    names = [f"{TRAINER}-{number}" for number in range(1, trainers + 1)]
    supervisor = Supervisor(home / "log", on_event=say)
    ledger = Ledger(f"sqlite:///{home / 'ledger.db'}")
    try:
        launch.start_services(supervisor, [*others, *(replace(trainer, name=name) for name in names)])
        client = Client(system.url)
        train_missing(system, client, [model], "quick", "sample")
        wait_until_serving(system, client, [model])
        yield Whole(system, supervisor, client, ledger, names)
    finally:
        supervisor.stop()
        ledger.close()
