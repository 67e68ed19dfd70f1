"""Faults of a running system at random moments: processes killed, told to stop, or standing still; a full disk."""

import random
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx
import psutil

from benchmarks.linear_oracle import MODEL
from benchmarks.small_disk import filled
from benchmarks.whole import MODEL_SERVER, REDIS, Whole

PAUSE_S = (8.0, 18.0)
"""Least and greatest time between two."""
STOPPED_S = (1.0, 4.0)
"""For how long a model server or Redis stands still."""
HALTED_S = (20.0, 90.0)
"""For how long a worker does: shorter and longer than its lease, while other faults go on."""
FULL_S = (4.0, 8.0)
CHILD, WORKER, TOLD, QUEUE, SERVER, STILL, HALTED, QUEUE_STILL, FULL = (
    "training process killed",
    "worker killed with all its processes",
    "worker told to stop",
    "Redis killed",
    "model server killed",
    "model server stood still",
    "worker stood still with all its processes",
    "Redis stood still",
    "disk full",
)


@dataclass(frozen=True)
class Fault:
    """What was done, when, and to which job if any ran there."""

    kind: str
    at: datetime
    clock: float
    """The same moment, of ``time.perf_counter``."""
    trainer: str | None = None
    job: str | None = None


class Faults:
    """Does them in a thread of its own until it is stopped."""

    def __init__(self, system: Whole, seed: int, *, can_fill_disk: bool) -> None:
        self._system, self._random = system, random.Random(seed)
        self._kinds = [CHILD, WORKER, TOLD, QUEUE, SERVER, STILL, HALTED, QUEUE_STILL, *[FULL] * can_fill_disk]
        self._resumptions: list[threading.Timer] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="faults", daemon=True)
        self._bag: list[str] = []
        self.done: list[Fault] = []
        self.trouble: list[str] = []
        """What could not be done, as there was nothing to do it to."""
        self.rollbacks: list[int] = []
        """Statuses of roll-backs on a full disk."""

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Also of what still stands still."""
        self._stop.set()
        self._thread.join()
        for resumption in self._resumptions:
            resumption.join()

    def _run(self) -> None:
        while not self._stop.wait(self._random.uniform(*PAUSE_S)):
            kind = self._next()
            try:
                self._do(kind)
            except psutil.Error as error:  # it was being restarted
                self.trouble.append(f"{kind}: {error}")

    def _next(self) -> str:
        """Every kind comes once before any comes again."""
        if not self._bag:
            self._bag = [*self._kinds]
            self._random.shuffle(self._bag)
        return self._bag.pop()

    def _do(self, kind: str) -> None:
        if kind in (CHILD, WORKER, TOLD):
            trainer = self._random.choice(self._system.trainers)
            self._to_trainer(kind, trainer, self._system.job_of(trainer))
        elif kind == HALTED:
            trainer = self._random.choice(self._system.trainers)
            self._note(kind, trainer, self._system.job_of(trainer))
            self._halt(self._system.process(trainer), self._random.uniform(*HALTED_S))
        elif kind == FULL:
            self._fill_disk(self._random.uniform(*FULL_S))
        elif kind in (STILL, QUEUE_STILL):
            self._note(kind)
            pause_process(
                self._system.process(REDIS if kind == QUEUE_STILL else MODEL_SERVER), self._random.uniform(*STOPPED_S)
            )
        else:
            self._note(kind)
            self._system.process(REDIS if kind == QUEUE else MODEL_SERVER).kill()

    def _to_trainer(self, kind: str, trainer: str, job: str | None) -> None:
        process, training = self._system.process(trainer), self._system.training(trainer)
        if kind == CHILD and training is None:
            self.trouble.append(f"{kind}: {trainer} trained nothing")
            return
        self._note(kind, trainer, job)
        how: Mapping[str, Callable[[], None]] = {
            CHILD: training.kill if training else process.kill,
            WORKER: lambda: kill_all(process),
            TOLD: process.terminate,
        }
        how[kind]()

    def _halt(self, process: psutil.Process, seconds: float) -> None:
        """Goes on in a thread of its own: other faults happen meanwhile."""
        family = [*process.children(recursive=True), process]
        signal_all(family, signal.SIGSTOP)
        resumption = threading.Timer(seconds, signal_all, (family, signal.SIGCONT))
        resumption.start()
        self._resumptions.append(resumption)

    def _fill_disk(self, seconds: float) -> None:
        """Of everything but the gateway's answers. A person rolls back meanwhile."""
        with filled(self._system.local.home):
            self._note(FULL)
            answer = httpx.post(f"{self._system.local.url}/api/models/{MODEL}:rollback", json={}, timeout=30)
            self.rollbacks.append(answer.status_code)
            time.sleep(seconds)

    def _note(self, kind: str, trainer: str | None = None, job: str | None = None) -> None:
        self.done.append(Fault(kind, datetime.now(UTC), time.perf_counter(), trainer, job))


def kill_all(process: psutil.Process) -> None:
    """With whatever it started, as when a machine is lost."""
    signal_all([process, *process.children(recursive=True)], signal.SIGKILL)


def signal_all(processes: Sequence[psutil.Process], number: int) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def pause_process(process: psutil.Process, seconds: float) -> None:
    process.send_signal(signal.SIGSTOP)
    time.sleep(seconds)
    process.send_signal(signal.SIGCONT)
