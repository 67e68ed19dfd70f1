"""A job as a value: its request, state and events; and the workers that run jobs. No database in here."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from modelyard.models.errors import ModelyardError


class State(StrEnum):
    """State of a job. The last four are final."""

    QUEUED = "queued"
    RUNNING = "running"
    PUBLISHING = "publishing"
    """The version is being published and promoted: the job cannot be cancelled any more."""
    SUCCEEDED = "succeeded"
    REJECTED = "rejected"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINAL = frozenset({State.SUCCEEDED, State.REJECTED, State.FAILED, State.CANCELLED})

MOVES: Mapping[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.RUNNING, State.CANCELLED, State.FAILED}),
    State.RUNNING: frozenset({State.QUEUED, State.RUNNING, State.PUBLISHING, *FINAL} - {State.SUCCEEDED}),
    State.PUBLISHING: frozenset({State.RUNNING, State.PUBLISHING, State.SUCCEEDED, State.FAILED}),
}
"""From a state to those that may follow. A job whose lease has run out keeps its state with the next attempt."""
UNDER_WAY = (State.RUNNING, State.PUBLISHING)
OPEN = (State.QUEUED, *UNDER_WAY)
"""All that are not final."""
LEASE_S = 60.0
"""A running job whose worker has not renewed its lease for this long has lost it."""
MAX_LOSSES = 3
"""Of attempts; then the job has failed."""
MAX_ATTEMPTS = 20
"""Attempts of any kind, also those that are not counted as losses: of a stopped worker."""
STOPPED = "its worker stopped"
"""Reason of a job's being requeued."""
MAX_BUDGET_S = 11 * 3600
"""Maximum time that a job may run; the broker waits longer before it delivers a message again."""


class Priority(StrEnum):
    """Order of queued jobs."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class TrainTarget(BaseModel):
    """Which model to train."""

    model: str = Field(max_length=64)


class TrainOptions(BaseModel):
    """How to train, in a job or in each of a search."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    recipe: str = Field("quick", max_length=64)
    overrides: dict[str, str | int | float | bool | list[int]] = Field({}, max_length=64)
    data: Literal["auto", "require-real", "sample"] = "auto"
    priority: Priority = Priority.NORMAL
    budget_s: float | None = Field(None, ge=1, le=MAX_BUDGET_S)
    """Seconds that all attempts of a job together may run."""
    with_feedback: bool = False
    """Whether it trains on feedback, too."""


class JobOptions(TrainOptions):
    """How to train, whatever model."""

    rollout: Literal["stable", "canary", "manual", "none"] = "stable"


class JobRequest(TrainTarget, JobOptions):
    """What to train."""


class Job(JobRequest):
    """A training job and its state. The ledger's table and the API's responses have the same fields."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    id: str
    devices: str
    """Devices to train on: auto, cpu, gpu, or a number of GPUs."""
    retry_of: str | None = None
    """The job that this one retries."""
    group: str | None = None
    """The search that it belongs to."""
    by: str
    state: State = State.QUEUED
    attempts: int = 0
    """Times it was started. Also the fencing token: the holder of an older one cannot change the job any more."""
    losses: int = 0
    """Attempts that were lost: their process was killed, or their worker vanished."""
    spent_s: float = 0.0
    """Seconds that earlier attempts ran, and the recorded part of this one."""
    worker: str | None = None
    """The worker that runs it."""
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    progress: dict[str, Any] = {}
    """The latest ``modelyard.pipeline.progress.Progress``: stage, epoch, metrics, ..."""
    result: dict[str, Any] = {}
    """The outcome: version, metrics, verdict, promotion; or the reason of a failure."""


@dataclass(frozen=True)
class Submission:
    """An idempotency key, and the hash of its request."""

    key: str
    digest: str


class TooLate(ModelyardError):
    """A job that cannot be cancelled any more; the text has the reason."""

    status = 409


class KeyReused(ModelyardError):
    """An idempotency key was used for another request before."""

    status = 422


@dataclass(frozen=True)
class Event:
    """One line of a job's event log."""

    id: int
    at: datetime
    kind: str
    body: Mapping[str, Any]


@dataclass(frozen=True)
class Worker:
    """A live worker."""

    name: str
    queues: tuple[str, ...]
    since: datetime | None
    """When it registered first; None of an earlier release."""
    seen_at: datetime
    slots: int
    """Number of jobs that it runs at a time."""


@dataclass(frozen=True)
class Training:
    """A job that went through all its stages, and the seconds that its last attempt took."""

    model: str
    recipe: str
    overrides: Mapping[str, Any]
    devices: str
    took_s: float
