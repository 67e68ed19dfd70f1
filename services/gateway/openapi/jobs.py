"""Training jobs, for the OpenAPI document."""

from datetime import datetime
from typing import Any, Literal

from modelyard.services.gateway.openapi.body import Body


class Job(Body):
    """A training job, and how it goes."""

    id: str
    model: str
    recipe: str
    overrides: dict[str, Any]
    data: str
    rollout: str
    priority: Literal["high", "normal", "low"]
    devices: str
    budget_s: float | None
    with_feedback: bool
    retry_of: str | None
    group: str | None
    by: str
    state: Literal["queued", "running", "publishing", "succeeded", "rejected", "failed", "cancelled"]
    attempts: int
    losses: int
    spent_s: float
    worker: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    progress: dict[str, Any]
    result: dict[str, Any]
    stage: str | None
    epoch: int | None
    metrics: dict[str, Any]
    version: int | None


class JobEvent(Body):
    """One line of a job's story."""

    id: int
    at: datetime
    kind: str
    body: dict[str, Any]


class JobStory(Job):
    """A job with its events."""

    events: list[JobEvent]


class Jobs(Body):
    """The newest first; ``next`` is the ``before`` of the page after this one."""

    jobs: list[Job]
    next: str | None
