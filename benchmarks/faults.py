"""Faults of a running system, one after another at random moments: killed, stopped by SIGTERM or by SIGSTOP."""

import random
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import psutil

from benchmarks.whole import MODEL_SERVER, REDIS, Whole

PAUSE_S = (8.0, 18.0)
"""Least and greatest time between two."""
STOPPED_S = (1.0, 4.0)
"""For how long a model server stands still."""
CHILD, WORKER, TOLD, QUEUE, SERVER, STILL = (
    "training process killed",
    "worker killed with all its processes",
    "worker told to stop",
    "Redis killed",
    "model server killed",
    "model server stood still",
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

    def __init__(self, system: Whole, seed: int) -> None:
        self._system, self._random = system, random.Random(seed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="faults", daemon=True)
        self._bag: list[str] = []
        self.done: list[Fault] = []
        self.trouble: list[str] = []
        """What could not be done, as there was nothing to do it to."""

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

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
            self._bag = [CHILD, WORKER, TOLD, QUEUE, SERVER, STILL]
            self._random.shuffle(self._bag)
        return self._bag.pop()

    def _do(self, kind: str) -> None:
        if kind in (CHILD, WORKER, TOLD):
            trainer = self._random.choice(self._system.trainers)
            self._to_trainer(kind, trainer, self._system.job_of(trainer))
        elif kind == STILL:
            self._note(kind)
            pause_process(self._system.process(MODEL_SERVER), self._random.uniform(*STOPPED_S))
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

    def _note(self, kind: str, trainer: str | None = None, job: str | None = None) -> None:
        self.done.append(Fault(kind, datetime.now(UTC), time.perf_counter(), trainer, job))


def kill_all(process: psutil.Process) -> None:
    """With whatever it started, as when a machine is lost."""
    for each in (process, *process.children(recursive=True)):
        try:
            each.kill()
        except psutil.NoSuchProcess:
            continue


def pause_process(process: psutil.Process, seconds: float) -> None:
    process.send_signal(signal.SIGSTOP)
    time.sleep(seconds)
    process.send_signal(signal.SIGCONT)
