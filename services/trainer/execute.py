"""One delivery of one job: claim it, train in a child process, write down how it ended, or try again."""

import shutil
from functools import partial
from typing import Any

import structlog

from modelyard.models.errors import ModelyardError, StorageFailed
from modelyard.pipeline.forkserver import ForkServer
from modelyard.pipeline.progress import Progress
from modelyard.services.ledger import FINAL, MAX_LOSSES, Job, Ledger, State
from modelyard.services.trainer import process
from modelyard.services.trainer.lease import Lease
from modelyard.services.trainer.patience import patiently
from modelyard.services.trainer.process import ChildFailed, ChildKilled, TrainingProcess
from modelyard.services.trainer.settings import TrainerSettings

log = structlog.get_logger()


def execute(job_id: str, worker: str, ledger: Ledger, settings: TrainerSettings, forks: ForkServer) -> None:
    """Runs a job to its end. A message for a job that has ended, or runs elsewhere, is dropped here.

    A job whose process was killed is tried again at once, from its last checkpoint, until it was lost too often.
    """
    structlog.contextvars.bind_contextvars(job=job_id)
    claimed = 0
    while job := patiently(ledger.claim, job_id, worker, settings.lease_s):
        claimed += 1
        attempt(job, ledger, settings, forks)
    ended = patiently(ledger.job, job_id)
    log.info("job left" if claimed else "job not started", state=ended.state, attempts=ended.attempts)
    if ended.state in FINAL:
        process.clear(settings, f"{job_id}.*")  # also what workers left that were lost
        shutil.rmtree(settings.place().checkpoints(job_id), ignore_errors=True)


def attempt(job: Job, ledger: Ledger, settings: TrainerSettings, forks: ForkServer) -> None:
    """Trains once, and writes down how it ended, or that it did not."""
    log.info("job started", model=job.model, recipe=job.recipe, attempt=job.attempts)
    try:
        child = TrainingProcess(job, settings, forks, keep_log=partial(ledger.logs.write, job.id))
    except ModelyardError as error:
        fail(job, ledger, str(error))
        return
    lease = Lease(ledger, job, settings.lease_s, stop=child.stop)
    try:
        with child, lease:
            outcome = child.outcome(Milestones(ledger, job), lease.may_publish)
    except (ModelyardError, ChildFailed) as error:
        if lease.timed_out:
            fail(job, ledger, f"timeout: its time budget of {job.budget_s:g} s is used up")
        elif not isinstance(error, ChildKilled):
            fail(job, ledger, str(error))
        elif job.losses + 1 >= MAX_LOSSES and not lease.publishing:
            fail(job, ledger, f"{error}, in attempt {job.attempts}")
        elif patiently(ledger.hand_back, job, str(error), lost=not lease.publishing):
            log.warning("job handed back", cause=str(error), attempt=job.attempts)
    else:
        state = State.REJECTED if outcome["state"] == "rejected" else State.SUCCEEDED
        log.info("job ended", state=state, version=outcome.get("version"))
        patiently(ledger.finish, job, state, outcome)


def fail(job: Job, ledger: Ledger, reason: str) -> None:
    """Ends the job, unless it is not ours any more."""
    if patiently(ledger.finish, job, State.FAILED, {"reason": reason}):
        log.warning("job failed", cause=reason)
    else:
        log.info("job stopped: it is not ours any more", state=ledger.job(job.id).state)


class Milestones:
    """Writes progress into the ledger; a new stage and the end of an epoch become part of the job's story."""

    def __init__(self, ledger: Ledger, job: Job) -> None:
        self._ledger, self._job = ledger, job
        self._last: tuple[Any, ...] = ()

    def __call__(self, progress: Progress) -> None:
        epoch_ended = progress.epoch is not None and progress.step == progress.steps
        mark = (progress.stage, progress.message if progress.step is None else "", progress.epoch if epoch_ended else 0)
        if mark != self._last:
            log.info("job at", **as_json(progress))
        try:
            self._ledger.report(self._job, as_json(progress), milestone=mark != self._last)
        except StorageFailed as error:  # a line less in its story is no reason to end a job
            log.warning("progress not written down", cause=str(error))
        self._last = mark


def as_json(progress: Progress) -> dict[str, Any]:
    """The fields that say something."""
    said = {name: value for name, value in vars(progress).items() if value not in (None, "")}
    return said | {"metrics": dict(progress.metrics)}
