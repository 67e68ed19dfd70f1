"""The trace of a job: from its submission through the queue to the stages of each attempt, told by the trainer.

The training process knows nothing of it: stages are known by the progress that it reports. Ids follow from the job's,
so that attempts in several processes are parts of one span, and one can tell of another that was killed.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime

from modelyard.models.errors import StorageFailed
from modelyard.services.ledger import FINAL, STOPPED, Event, Job, Ledger, State
from modelyard.services.tracing.context import TraceContext, parse_context
from modelyard.services.tracing.spans import Attributes, Kind, Span, Tracing

StageNote = Callable[[str], None]
"""Is told the stage of each report of progress."""
JOB, WAIT, ATTEMPT = "job", "wait in the queue", "attempt"
LOST, STILL_OPEN = "lost", "requeued"
"""Outcomes of an attempt: nobody told how it ended; it did not end the job."""
TRACE_BITS, SPAN_BITS = 128, 64


def note_nothing(stage: str) -> None:
    """Where nothing is traced."""


@contextmanager
def trace_attempt(tracing: Tracing | None, ledger: Ledger, job: Job) -> Iterator[StageNote]:
    """The spans of one attempt, which the block is; yields what is told of its stages.

    Whatever the ledger does not say is left out: no job fails by its trace.
    """
    attempt = None
    if tracing is not None:
        with suppress(StorageFailed):
            attempt = begin_attempt(tracing, ledger, job)
    if attempt is None:
        yield note_nothing
        return
    try:
        yield attempt.note
    finally:
        with suppress(StorageFailed):
            attempt.end(ledger)


def begin_attempt(tracing: Tracing, ledger: Ledger, job: Job) -> "AttemptTrace":
    """The trace of a job that was just claimed. Tells what lies before: how long it waited, and a lost attempt."""
    submitted = ledger.jobs.get_traceparent(job.id)
    root = begin_job(tracing, job, parse_context([submitted]) if submitted else None)
    claim, *before = reversed(ledger.jobs.list_events(job.id, kinds=("state",)))
    if before and before[0].body.get("state") == State.QUEUED:
        tell(root, WAIT, before[0].at, claim.at, {"modelyard.job.attempt": job.attempts})
    if lost := find_lost(before):
        facts = {**describe_attempt(job, job.attempts - 1), "modelyard.job.outcome": LOST}
        span_id = make_attempt_id(job, job.attempts - 1)
        until = before[0].at if before[0] is not lost else claim.at
        tell(root, ATTEMPT, lost.at, until, facts, failed=True, span_id=span_id)
    return AttemptTrace(root, job, claim.at)


def begin_job(tracing: Tracing, job: Job, caller: TraceContext | None) -> Span:
    """The span of the whole job, which whoever ends the job ends; in a trace of its own if its request has none."""
    facts: dict[str, str | int] = {
        "modelyard.job.id": job.id,
        "modelyard.model": job.model,
        "modelyard.recipe": job.recipe,
        "modelyard.job.devices": job.devices,
    }
    if job.group is not None:
        facts["modelyard.search.id"] = job.group
    ids = {"trace_id": make_id(job.id, TRACE_BITS), "span_id": make_id(f"{job.id} {JOB}", SPAN_BITS)}
    return tracing.begin(JOB, caller, facts, kind=Kind.CONSUMER, at_ns=to_ns(job.created_at), **ids)


def find_lost(before: Sequence[Event]) -> Event | None:
    """The beginning of the attempt before, if whoever ran it could not tell its end.

    Args:
        before: changes of the job's state before this attempt's, the newest first.
    """
    stopped = bool(before) and before[0].body.get("reason") == STOPPED
    for event in before[1:] if stopped else before:
        if "worker" in event.body:
            return event
        if event.body.get("state") != State.PUBLISHING:
            return None
    return None


class AttemptTrace:
    """One attempt, and its stages."""

    def __init__(self, root: Span, job: Job, began: datetime) -> None:
        self._root, self._job = root, job
        span_id = make_attempt_id(job, job.attempts)
        self._span = root.begin(ATTEMPT, describe_attempt(job, job.attempts), at_ns=to_ns(began), span_id=span_id)
        self._stage: Span | None = None
        self._name = ""

    def note(self, stage: str) -> None:
        """The stage now; the one before has ended."""
        if stage == self._name:
            return
        if (self._name, stage) == ("train", "rehearse"):  # training prepares, and rehearses first: as ``list_stages``
            self._name = stage
            return
        self._end_stage(failed=False)
        self._stage, self._name = self._span.begin(stage), stage

    def end(self, ledger: Ledger) -> None:
        """Tells how it ended, as the ledger has it; nothing if that is another's to tell."""
        job = ledger.jobs.get(self._job.id)
        if job.attempts != self._job.attempts or self._was_released(ledger, job):
            self._end_stage(failed=True)
            return
        failed = job.state is State.FAILED or job.state not in FINAL
        self._end_stage(failed=failed)
        outcome = str(job.state) if job.state in FINAL else STILL_OPEN
        self._span.end({"modelyard.job.outcome": outcome}, failed=failed)
        if job.state in FINAL:
            facts: dict[str, str | int] = {"modelyard.job.outcome": outcome, "modelyard.job.attempts": job.attempts}
            if job.result.get("version") is not None:
                facts["modelyard.version"] = job.result["version"]
            self._root.end(facts, failed=failed, at_ns=to_ns(job.finished_at) if job.finished_at else None)

    def _end_stage(self, *, failed: bool) -> None:
        if self._stage is not None:
            self._stage.end(name=self._name, failed=failed)

    @staticmethod
    def _was_released(ledger: Ledger, job: Job) -> bool:
        """By the worker that stops: the next attempt tells of this one."""
        events = ledger.jobs.list_events(job.id, kinds=("state",))
        return job.state not in FINAL and events[-1].body.get("reason") == STOPPED


def describe_attempt(job: Job, number: int) -> dict[str, str | int]:
    return {"modelyard.job.id": job.id, "modelyard.model": job.model, "modelyard.job.attempt": number}


def tell(
    root: Span,
    name: str,
    began: datetime,
    ended: datetime,
    facts: Attributes,
    *,
    failed: bool = False,
    span_id: int = 0,
) -> None:
    """A child that is over."""
    root.begin(name, facts, at_ns=to_ns(began), span_id=span_id or None).end(failed=failed, at_ns=to_ns(ended))


def make_attempt_id(job: Job, number: int) -> int:
    return make_id(f"{job.id} {ATTEMPT} {number}", SPAN_BITS)


def make_id(text: str, bits: int) -> int:
    """An id that everybody makes who has the text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[: bits // 8], "big") or 1


def to_ns(moment: datetime) -> int:
    """Nanoseconds since 1970."""
    return int(moment.timestamp() * 1_000_000) * 1000
