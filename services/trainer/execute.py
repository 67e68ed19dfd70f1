"""One delivery of one job: claim it, train in a child process, write down how it ended, or try again."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import structlog

from models.errors import ModelyardError, StorageFailed
from pipeline.progress import Progress
from services.ledger import FINAL, MAX_ATTEMPTS, Job, Ledger, State
from services.trainer import process
from services.trainer.process import ChildFailed, ChildKilled, TrainingProcess
from services.trainer.settings import TrainerSettings

log = structlog.get_logger()

RENEW_S = 10.0
LOOK_S = 1.0
"""Between two looks at whether the job was cancelled."""


def execute(job_id: str, worker: str, ledger: Ledger, settings: TrainerSettings) -> None:
    """Runs a job to its end. A message for a job that has ended, or runs elsewhere, is dropped here.

    A job whose process was killed is tried again at once, from its last checkpoint, as long as it has attempts.
    """
    structlog.contextvars.bind_contextvars(job=job_id)
    claimed = 0
    while job := ledger.claim(job_id, worker):
        claimed += 1
        attempt(job, ledger, settings)
    ended = ledger.job(job_id)
    log.info("job left" if claimed else "job not started", state=ended.state, attempts=ended.attempts)
    if ended.state in FINAL:
        process.clear(settings, f"{job_id}.*")  # also what workers left that were lost
        shutil.rmtree(settings.place().checkpoints(job_id), ignore_errors=True)


def attempt(job: Job, ledger: Ledger, settings: TrainerSettings) -> None:
    """Trains once, and writes down how it ended, or that it did not."""
    log.info("job started", model=job.model, recipe=job.recipe, attempt=job.attempts)
    try:
        with TrainingProcess(job, settings) as child, held(ledger, job, on_loss=child.stop):
            outcome = child.outcome(Milestones(ledger, job), may_publish=lambda: ledger.publishing(job))
    except ChildKilled as death:
        if job.attempts >= MAX_ATTEMPTS:
            fail(job, ledger, f"{death}, in attempt {job.attempts} of {MAX_ATTEMPTS}")
        elif ledger.hand_back(job, str(death)):
            log.warning("job handed back", cause=str(death), attempt=job.attempts)
    except (ModelyardError, ChildFailed) as error:
        fail(job, ledger, str(error))
    else:
        state = State.REJECTED if outcome["state"] == "rejected" else State.SUCCEEDED
        log.info("job ended", state=state, version=outcome.get("version"))
        ledger.finish(job, state, outcome)


def fail(job: Job, ledger: Ledger, reason: str) -> None:
    """Ends the job, unless it is not ours any more."""
    if ledger.finish(job, State.FAILED, {"reason": reason}):
        log.warning("job failed", cause=reason)
    else:
        log.info("job stopped: it is not ours any more", state=ledger.job(job.id).state)


@contextmanager
def held(ledger: Ledger, job: Job, on_loss: Callable[[], None]) -> Iterator[None]:
    """Looks after the job's lease, in a thread of its own: training may be silent for minutes and is still alive.

    Args:
        on_loss: called once if the job is not ours any more: somebody cancelled it, or took it over.
    """
    ended = threading.Event()

    def look_after() -> None:
        renewed_at = time.monotonic()
        while not ended.wait(LOOK_S):
            try:
                if not ledger.holds(job):
                    on_loss()
                    return
                if time.monotonic() - renewed_at >= RENEW_S:
                    ledger.renew(job)
                    renewed_at = time.monotonic()
            except StorageFailed as error:
                log.warning("lease not looked after", job=job.id, cause=str(error))

    thread = threading.Thread(target=look_after, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class Milestones:
    """Writes progress into the ledger; a new stage and the end of an epoch become part of the job's story."""

    def __init__(self, ledger: Ledger, job: Job) -> None:
        self._ledger, self._job = ledger, job
        self._last: tuple[Any, ...] = ()

    def __call__(self, progress: Progress) -> None:
        epoch_ended = progress.epoch is not None and progress.step == progress.steps
        mark = (progress.stage, progress.message if progress.step is None else "", progress.epoch if epoch_ended else 0)
        self._ledger.report(self._job, as_json(progress), milestone=mark != self._last)
        self._last = mark


def as_json(progress: Progress) -> dict[str, Any]:
    """The fields that say something."""
    said = {name: value for name, value in vars(progress).items() if value not in (None, "")}
    return said | {"metrics": dict(progress.metrics)}
