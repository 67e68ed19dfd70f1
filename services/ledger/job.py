"""What the ledger says of a job: values without a database."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from modelyard.models.errors import ModelyardError


class State(StrEnum):
    """Where a job is. The last four are final."""

    QUEUED = "queued"
    RUNNING = "running"
    PUBLISHING = "publishing"
    """Past the point of no return: the version is being put into the store, and may be made to answer."""
    SUCCEEDED = "succeeded"
    REJECTED = "rejected"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINAL = frozenset({State.SUCCEEDED, State.REJECTED, State.FAILED, State.CANCELLED})

MOVES: Mapping[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.RUNNING, State.CANCELLED, State.FAILED}),
    State.RUNNING: frozenset({State.QUEUED, State.RUNNING, State.PUBLISHING, *FINAL} - {State.SUCCEEDED}),
    State.PUBLISHING: frozenset({State.QUEUED, State.RUNNING, State.SUCCEEDED, State.FAILED}),
}
"""From a state to those that may follow. A job whose lease has run out is RUNNING again with the next attempt."""
UNDER_WAY = (State.RUNNING, State.PUBLISHING)
OPEN = (State.QUEUED, *UNDER_WAY)
"""All that are not final."""
LEASE_S = 60.0
"""A running job whose worker has not renewed its lease for this long has lost it."""
MAX_LOSSES = 3
"""Of attempts; then the job has failed."""


class Priority(StrEnum):
    """Which of those who wait goes first."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


@dataclass(frozen=True)
class Job:
    """One training job as the ledger knows it."""

    id: str
    model: str
    recipe: str
    overrides: Mapping[str, Any]
    data: str
    rollout: str
    priority: Priority
    devices: str
    """What it is to be trained on: auto, cpu, gpu, or a number of GPUs."""
    budget_s: float | None
    """Seconds that all its attempts together may run."""
    with_feedback: bool
    """Whether it trains on feedback, too."""
    retry_of: str | None
    """The job that this one tries again."""
    group: str | None
    """The search that it belongs to."""
    by: str
    state: State
    attempts: int
    """Times it was started. The fencing number too: who holds an older one can change nothing any more."""
    losses: int
    """Attempts that were lost: their process was killed, or their worker vanished."""
    spent_s: float
    """Seconds that attempts before this one ran; of this one, what has been written down so far."""
    worker: str | None
    """Who runs it."""
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    progress: Mapping[str, Any]
    """The latest ``modelyard.pipeline.progress.Progress``: stage, epoch, metrics, ..."""
    result: Mapping[str, Any]
    """How it ended: version, metrics, verdict, promotion; or the reason of a failure."""


@dataclass(frozen=True)
class Submission:
    """How a caller marks a request that may come more than once, and what was asked for."""

    key: str
    digest: str


class TooLate(ModelyardError):
    """A job that cannot be cancelled any more; says why."""

    status = 409


class KeyReused(ModelyardError):
    """The key of an earlier request came with another one."""

    status = 422


@dataclass(frozen=True)
class Event:
    """One line of a job's story."""

    id: int
    at: datetime
    kind: str
    body: Mapping[str, Any]
