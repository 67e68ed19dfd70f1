"""One delivery of a job: claims it, trains in a child process, and records the outcome or tries again."""

import shutil
from typing import Any

import structlog

from modelyard.models.errors import ModelyardError, StorageFailed
from modelyard.pipeline.forkserver import ForkServer
from modelyard.pipeline.progress import Progress
from modelyard.services.ledger import FINAL, MAX_LOSSES, Job, Ledger, State
from modelyard.services.trainer.lease import Lease, call_ledger
from modelyard.services.trainer.process import ChildFailed, ChildKilled, TrainingProcess, remove_folders
from modelyard.services.trainer.settings import TrainerSettings

log = structlog.get_logger()


def execute(job_id: str, worker: str, ledger: Ledger, settings: TrainerSettings, forks: ForkServer) -> None:
    """Runs a job to its end. A message for a job that has ended, or runs elsewhere, is dropped here.

    A job whose process was killed is tried again at once, from its last checkpoint, until it was lost too often.
    """
    structlog.contextvars.bind_contextvars(job=job_id)
    claimed = 0
    while job := call_ledger(ledger.jobs.claim, job_id, worker, settings.lease_s):
        claimed += 1
        run_attempt(job, ledger, settings, forks)
    ended = call_ledger(ledger.jobs.get, job_id)
    log.info("job released" if claimed else "job not claimed", state=ended.state, attempts=ended.attempts)
    if ended.state in FINAL:
        remove_folders(settings, f"{job_id}.*")  # of lost workers too
        shutil.rmtree(settings.locations().checkpoints(job_id), ignore_errors=True)


def run_attempt(job: Job, ledger: Ledger, settings: TrainerSettings, forks: ForkServer) -> None:
    """Trains once; records the outcome, or requeues the job."""
    log.info("job started", model=job.model, recipe=job.recipe, attempt=job.attempts)
    try:
        child = TrainingProcess(job, settings, ledger, forks)
    except ModelyardError as error:
        fail_job(job, ledger, str(error))
        return
    lease = Lease(ledger, job, settings.lease_s, stop=child.stop)
    try:
        with child, lease:
            outcome = child.await_outcome(ProgressRecorder(ledger, job), lease.may_publish)
    except (ModelyardError, ChildFailed) as error:
        if lease.timed_out:
            fail_job(job, ledger, f"timeout: its time budget of {job.budget_s:g} s is used up")
        elif not isinstance(error, ChildKilled):
            fail_job(job, ledger, str(error))
        elif job.losses + 1 >= MAX_LOSSES and not lease.publishing:
            fail_job(job, ledger, f"{error}, in attempt {job.attempts}")
        elif call_ledger(ledger.jobs.requeue, job, str(error), lost=not lease.publishing):
            log.warning("job requeued", cause=str(error), attempt=job.attempts)
    else:
        state = State.REJECTED if outcome["state"] == "rejected" else State.SUCCEEDED
        log.info("job ended", state=state, version=outcome.get("version"))
        call_ledger(ledger.jobs.finish, job, state, outcome)


def fail_job(job: Job, ledger: Ledger, reason: str) -> None:
    """Records the failure, unless this worker has lost the job."""
    if call_ledger(ledger.jobs.finish, job, State.FAILED, {"reason": reason}):
        log.warning("job failed", cause=reason)
    else:
        log.info("job stopped: it is no longer this worker's", state=ledger.jobs.get(job.id).state)


class ProgressRecorder:
    """Writes progress into the ledger; a new stage and the end of an epoch become events of the job."""

    def __init__(self, ledger: Ledger, job: Job) -> None:
        self._ledger, self._job = ledger, job
        self._last: tuple[Any, ...] = ()

    def __call__(self, progress: Progress) -> None:
        epoch_ended = progress.epoch is not None and progress.step == progress.steps
        mark = (progress.stage, progress.message if progress.step is None else "", progress.epoch if epoch_ended else 0)
        if mark != self._last:
            log.info("job progress", **dump_progress(progress))
        try:
            self._ledger.jobs.record_progress(self._job, dump_progress(progress), milestone=mark != self._last)
        except StorageFailed as error:  # a missing event is no reason to end a job
            log.warning("progress not recorded", cause=str(error))
        self._last = mark


def dump_progress(progress: Progress) -> dict[str, Any]:
    """The fields that have a value."""
    values = {name: value for name, value in vars(progress).items() if value not in (None, "")}
    return values | {"metrics": dict(progress.metrics)}
