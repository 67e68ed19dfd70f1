"""One delivery of a job: claims it, trains in a child process, and records the outcome or tries again."""

import shutil
import time
from collections.abc import Callable
from typing import Any

import structlog

from modelyard.models.errors import ModelyardError, StorageFailed
from modelyard.pipeline.event_files import prune_runs
from modelyard.pipeline.job import Promotion, Published, describe_published
from modelyard.pipeline.processes.forkserver import ForkServer
from modelyard.pipeline.progress import Progress
from modelyard.services.job_stages import JobEstimate, measure_earlier
from modelyard.services.job_trace import StageNote, note_nothing, trace_attempt
from modelyard.services.ledger import FINAL, MAX_ATTEMPTS, MAX_LOSSES, Job, Ledger, State
from modelyard.services.tracing.spans import Tracing
from modelyard.services.trainer.lease import Lease, call_ledger
from modelyard.services.trainer.process import ChildFailed, ChildKilled, TrainingProcess, remove_folders
from modelyard.services.trainer.settings import TrainerSettings

log = structlog.get_logger()

POINT_S, POINT_SHARE = 1.0, 0.01
"""Between two points of a curve within an epoch: seconds at least, and share of the time that it has trained."""


def execute(
    job_id: str,
    worker: str,
    ledger: Ledger,
    settings: TrainerSettings,
    forks: ForkServer,
    tracing: Tracing | None = None,
) -> None:
    """Runs a job to its end. A message for a job that has ended, or runs elsewhere, is dropped here.

    A job whose process was killed is tried again at once, from its last checkpoint, until it was lost too often.
    """
    structlog.contextvars.bind_contextvars(job=job_id)
    claimed = 0
    while job := call_ledger(ledger.jobs.claim, job_id, worker, settings.lease_s):
        claimed += 1
        with trace_attempt(tracing, ledger, job) as note_stage:
            try:
                if wanted := find_published(job, ledger, settings):
                    run_attempt(wanted, ledger, settings, forks, note_stage)
            except StoreFailed as error:
                call_ledger(ledger.jobs.requeue, job, str(error), lost=False)
                log.warning("job requeued", cause=str(error), attempt=job.attempts)
                return
    ended = call_ledger(ledger.jobs.get, job_id)
    log.info("job released" if claimed else "job not claimed", state=ended.state, attempts=ended.attempts)
    if ended.state in FINAL:
        remove_folders(settings, f"{job_id}.*")  # of lost workers too
        shutil.rmtree(settings.locations().checkpoints(job_id), ignore_errors=True)
        prune_runs(settings.tensorboard_dir, ended.model, settings.tensorboard_runs)


class StoreFailed(Exception):
    """Whether the job has a version cannot be found out at present."""


def find_published(job: Job, ledger: Ledger, settings: TrainerSettings) -> Job | None:
    """Looks for the version of an attempt that was lost while publishing. Returns the job as it goes on, None if not.

    With a version it stays PUBLISHING, and gives it its role; without one it trains.

    Raises:
        StoreFailed: the store cannot be read or written.
    """
    if job.state is not State.PUBLISHING:
        return job
    store = settings.open_store()
    try:
        store.supersede(job.model, job.id, job.attempts)
        published = store.find_version_of(job.model, job.id)
    except StorageFailed as error:
        raise StoreFailed(str(error)) from error
    if published is None:
        return call_ledger(ledger.jobs.resume_training, job)
    if job.attempts < MAX_ATTEMPTS:
        return job
    end_job(job, ledger, settings, f"it was lost in {job.attempts} attempts")
    return None


def run_attempt(
    job: Job, ledger: Ledger, settings: TrainerSettings, forks: ForkServer, note_stage: StageNote = note_nothing
) -> None:
    """Trains once; records the outcome, or requeues the job."""
    log.info("job started", model=job.model, recipe=job.recipe, attempt=job.attempts)
    try:
        child = TrainingProcess(job, settings, ledger, forks)
    except ModelyardError as error:
        end_job(job, ledger, settings, str(error))
        return
    lease = Lease(ledger, job, settings.lease_s, stop=child.stop)
    try:
        with child, lease:
            outcome = child.await_outcome(ProgressRecorder(ledger, job, note_stage=note_stage), lease.may_publish)
    except (ModelyardError, ChildFailed) as error:
        if lease.timed_out:
            end_job(job, ledger, settings, f"timeout: its time budget of {job.budget_s:g} s is used up")
        elif not isinstance(error, ChildKilled):
            end_job(job, ledger, settings, str(error))
        elif job.losses + 1 >= MAX_LOSSES and not lease.publishing:
            end_job(job, ledger, settings, f"{error}, in attempt {job.attempts}")
        elif call_ledger(ledger.jobs.requeue, job, str(error), lost=not lease.publishing):
            log.warning("job requeued", cause=str(error), attempt=job.attempts)
    else:
        state = State.REJECTED if outcome["state"] == "rejected" else State.SUCCEEDED
        log.info("job ended", state=state, version=outcome.get("version"))
        call_ledger(ledger.jobs.finish, job, state, outcome)


def end_job(job: Job, ledger: Ledger, settings: TrainerSettings, reason: str) -> None:
    """Records the failure, unless this worker has lost the job; a job with a version has succeeded without its role."""
    published = call_ledger(settings.open_store().find_version_of, job.model, job.id)
    if published:
        state, result = State.SUCCEEDED, describe_published(Published(published, Promotion(False, reason)))
    else:
        state, result = State.FAILED, {"reason": reason}
    if call_ledger(ledger.jobs.finish, job, state, result):
        log.warning("job failed" if state is State.FAILED else "version not promoted", cause=reason)
    else:
        log.info("job stopped: it is no longer this worker's", state=ledger.jobs.get(job.id).state)


class ProgressRecorder:
    """Writes progress into the ledger; a new stage and the end of an epoch become events of the job.

    So do points of its curves within an epoch: the longer it trains, the fewer, some hundreds in all.
    """

    def __init__(
        self,
        ledger: Ledger,
        job: Job,
        now: Callable[[], float] = time.monotonic,
        note_stage: StageNote = note_nothing,
    ) -> None:
        self._note_stage = note_stage
        self._ledger, self._job, self._now = ledger, job, now
        self._last: tuple[Any, ...] = ()
        self._estimate = JobEstimate(job, self._measure_earlier(), now)
        self._began = self._point_at = now()

    def __call__(self, progress: Progress) -> None:
        self._note_stage(progress.stage)
        epoch_ended = progress.epoch is not None and progress.step == progress.steps
        mark = (progress.stage, progress.message if progress.step is None else "", progress.epoch if epoch_ended else 0)
        values = self._estimate.complete(dump_progress(progress))
        if mark != self._last:
            log.info("job progress", **values)
        try:
            self._ledger.jobs.record_progress(
                self._job, values, milestone=mark != self._last, point=self._is_point(progress)
            )
        except StorageFailed as error:  # a missing event is no reason to end a job
            log.warning("progress not recorded", cause=str(error))
        self._last = mark

    def _measure_earlier(self) -> dict[str, float]:
        try:
            return measure_earlier(self._ledger, self._job)
        except StorageFailed as error:  # without it the estimate ends with the training
            log.warning("earlier jobs not read", cause=str(error))
            return {}

    def _is_point(self, progress: Progress) -> bool:
        now = self._now()
        if progress.step is None or now - self._point_at < max(POINT_S, POINT_SHARE * (now - self._began)):
            return False
        self._point_at = now
        return progress.stage == "train"


def dump_progress(progress: Progress) -> dict[str, Any]:
    """The fields that have a value."""
    values = {name: value for name, value in vars(progress).items() if value not in (None, "") and value is not False}
    return values | {"metrics": dict(progress.metrics)}
