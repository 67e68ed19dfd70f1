"""The ledger's tables. ``schema.py`` makes them; a change here needs a migration."""

from datetime import UTC, datetime
from typing import Annotated, Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    ForeignKey,
    Integer,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from modelyard.services.ledger.job import Job, Priority, State

Wide = Annotated[int, mapped_column(BigInteger().with_variant(Integer, "sqlite"))]
"""64 bits: a version can be a moment in ms, and rows are counted for years. SQLite's integers grow by themselves."""


class Table(DeclarativeBase):
    """What all of them share."""

    type_annotation_map = {  # noqa: RUF012  # SQLAlchemy's form
        dict[str, Any]: JSON,
        list[str]: JSON,
        list[int]: JSON,
        datetime: DateTime(timezone=True),
    }


class JobRow(Table):
    """One job, as it is now."""

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(index=True)
    recipe: Mapped[str]
    overrides: Mapped[dict[str, Any]]
    data: Mapped[str]
    rollout: Mapped[str]
    priority: Mapped[str]
    devices: Mapped[str]
    budget_s: Mapped[float | None]
    with_feedback: Mapped[bool]
    retry_of: Mapped[str | None]
    group: Mapped[str | None] = mapped_column(index=True)
    by: Mapped[str]
    state: Mapped[str] = mapped_column(index=True)
    attempts: Mapped[int]
    losses: Mapped[int]
    spent_s: Mapped[float]
    worker: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(index=True)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    progress: Mapped[dict[str, Any]]
    result: Mapped[dict[str, Any]]

    def to_job(self) -> Job:
        return Job(
            id=self.id,
            model=self.model,
            recipe=self.recipe,
            overrides=self.overrides,
            data=self.data,
            rollout=self.rollout,
            priority=Priority(self.priority),
            devices=self.devices,
            budget_s=self.budget_s,
            with_feedback=self.with_feedback,
            retry_of=self.retry_of,
            group=self.group,
            by=self.by,
            state=State(self.state),
            attempts=self.attempts,
            losses=self.losses,
            spent_s=self.spent_s,
            worker=self.worker,
            created_at=utc(self.created_at),
            started_at=utc(self.started_at) if self.started_at else None,
            finished_at=utc(self.finished_at) if self.finished_at else None,
            progress=self.progress,
            result=self.result,
        )


class EventRow(Table):
    """One line of a job's story; ids grow over all jobs."""

    __tablename__ = "events"

    id: Mapped[Wide] = mapped_column(primary_key=True, autoincrement=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), index=True)
    at: Mapped[datetime]
    kind: Mapped[str]
    body: Mapped[dict[str, Any]]


class SubmissionRow(Table):
    """What a caller's key stands for, as long as it is remembered."""

    __tablename__ = "submissions"

    key: Mapped[str] = mapped_column(primary_key=True)
    digest: Mapped[str]
    """SHA-256 of what was asked for."""
    job_id: Mapped[str]
    at: Mapped[datetime] = mapped_column(index=True)


class LogRow(Table):
    """Some of what a job's processes wrote; ids grow over all jobs."""

    __tablename__ = "logs"

    id: Mapped[Wide] = mapped_column(primary_key=True, autoincrement=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), index=True)
    text: Mapped[str] = mapped_column(Text)


class WorkerRow(Table):
    """A worker, as long as it says that it is there."""

    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(primary_key=True)
    queues: Mapped[list[str]]
    seen_at: Mapped[datetime]


class ObservationRow(Table):
    """What one gateway has counted of one side of a trial."""

    __tablename__ = "observations"

    model: Mapped[str] = mapped_column(primary_key=True)
    since: Mapped[str] = mapped_column(primary_key=True)
    """When the trial began, as it stands in the rollout."""
    role: Mapped[str] = mapped_column(primary_key=True)
    gateway: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[Wide]
    counts: Mapped[dict[str, Any]]
    at: Mapped[datetime]


class VerdictRow(Table):
    """How far the judge of a trial has got; ``revision`` lets one of several write."""

    __tablename__ = "verdicts"

    model: Mapped[str] = mapped_column(primary_key=True)
    since: Mapped[str] = mapped_column(primary_key=True)
    revision: Mapped[int]
    state: Mapped[dict[str, Any]]


class AnswerRow(Table):
    """One row of a request with what a version answered, where such are kept."""

    __tablename__ = "answers"
    __table_args__ = (UniqueConstraint("request_id", "row"),)

    id: Mapped[Wide] = mapped_column(primary_key=True, autoincrement=True)
    request_id: Mapped[str] = mapped_column(String(64))
    row: Mapped[int]
    model: Mapped[str]
    version: Mapped[Wide]
    input: Mapped[str]
    dtype: Mapped[str]
    shape: Mapped[list[int]]
    content: Mapped[bytes]
    digest: Mapped[str]
    """SHA-256 of the input."""
    predicted: Mapped[float]
    score: Mapped[float | None]
    at: Mapped[datetime] = mapped_column(index=True)


class FeedbackRow(Table):
    """What somebody said is true of an answer."""

    __tablename__ = "feedback"
    __table_args__ = (UniqueConstraint("request_id", "row"),)

    id: Mapped[Wide] = mapped_column(primary_key=True, autoincrement=True)
    request_id: Mapped[str] = mapped_column(String(64))
    row: Mapped[int]
    model: Mapped[str] = mapped_column(index=True)
    version: Mapped[Wide]
    truth: Mapped[float]
    right: Mapped[bool | None]
    client: Mapped[str]
    at: Mapped[datetime]


class TriggerRow(Table):
    """What starts a job by itself; ``revision`` counts changes and firings."""

    __tablename__ = "triggers"

    model: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    body: Mapped[dict[str, Any]]
    revision: Mapped[int]
    since: Mapped[datetime]
    fired_at: Mapped[datetime | None]
    job_id: Mapped[str | None]


class DriftRow(Table):
    """How far what a version is asked and answers has moved from what it was measured on."""

    __tablename__ = "drift"

    model: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[Wide]
    answers: Mapped[int]
    shifts: Mapped[dict[str, Any]]
    at: Mapped[datetime]


class SearchRow(Table):
    """A search; ``revision`` lets one of several schedulers take the next step."""

    __tablename__ = "searches"

    id: Mapped[str] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(index=True)
    by: Mapped[str]
    plan: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(index=True)
    progress: Mapped[dict[str, Any]]
    revision: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(index=True)
    finished_at: Mapped[datetime | None]


class KeyRow(Table):
    """An API key, without its secret; rows stay when it has ended."""

    __tablename__ = "keys"

    prefix: Mapped[str] = mapped_column(String(16), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64))
    """HMAC-SHA256 of the whole key, under the server's own secret."""
    name: Mapped[str] = mapped_column(String(64), index=True)
    role: Mapped[str] = mapped_column(String(16))
    models: Mapped[list[str]]
    by: Mapped[str]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


def utc(moment: datetime) -> datetime:
    """SQLite drops the zone of what was stored in UTC; PostgreSQL's driver gives it another name."""
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
