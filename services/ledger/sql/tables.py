"""The ledger's tables. ``schema.py`` makes them; a change here needs a migration."""

from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, get_args, get_origin

from sqlalchemy import JSON, BigInteger, Boolean, Column, Double, ForeignKey, Integer, String, Text, UniqueConstraint
from sqlalchemy import Table as SqlTable
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from modelyard.services.ledger.job import Job
from modelyard.services.ledger.sql.clock import now
from modelyard.services.ledger.sql.column_types import EnumText, UtcDateTime

Wide = Annotated[int, mapped_column(BigInteger().with_variant(Integer, "sqlite"))]
WideOrNone = Annotated[int | None, mapped_column(BigInteger().with_variant(Integer, "sqlite"))]
"""64 bits: a version can be a moment in ms, and rows are counted for years. SQLite's integers grow by themselves."""


class Table(DeclarativeBase):
    """Base class of the tables."""

    type_annotation_map = {  # noqa: RUF012  # SQLAlchemy's form
        dict[str, Any]: JSON,
        list[str]: JSON,
        list[int]: JSON,
        list[dict[str, Any]]: JSON,
        datetime: UtcDateTime,
    }


def job_columns() -> Iterator[Column[Any]]:
    """One for each field of a job."""
    indexed = ("model", "group", "state", "created_at")
    for name, field in Job.model_fields.items():
        kinds = set(get_args(field.annotation)) or {field.annotation}
        optional = type(None) in kinds
        (kind,) = kinds - {type(None)} if optional else {field.annotation}
        yield Column(name, column_type(kind), primary_key=name == "id", nullable=optional, index=name in indexed)


def column_type(kind: Any) -> Any:
    """SQL's for a type of Python's."""
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return EnumText(kind)
    if get_origin(kind) is Literal:
        return String
    return {str: String, int: Integer, float: Double, bool: Boolean, datetime: UtcDateTime}.get(kind, JSON)


JOBS = SqlTable(
    "jobs", Table.metadata, *job_columns(), Column("lease_until", UtcDateTime), Column("traceparent", String(64))
)
"""All jobs, as they are now: the fields of ``Job``, until when a running one is held, and the span of its request."""


class EventRow(Table):
    """One line of a job's event log; ids grow over all jobs."""

    __tablename__ = "events"

    id: Mapped[Wide] = mapped_column(primary_key=True, autoincrement=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), index=True)
    at: Mapped[datetime]
    kind: Mapped[str]
    body: Mapped[dict[str, Any]]


class SubmissionRow(Table):
    """An idempotency key and its job."""

    __tablename__ = "submissions"

    key: Mapped[str] = mapped_column(primary_key=True)
    digest: Mapped[str]
    """SHA-256 of the request."""
    job_id: Mapped[str]
    at: Mapped[datetime] = mapped_column(index=True)


class LogRow(Table):
    """A part of the output of a job's processes; ids grow over all jobs."""

    __tablename__ = "logs"

    id: Mapped[Wide] = mapped_column(primary_key=True, autoincrement=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), index=True)
    text: Mapped[str] = mapped_column(Text)


class WorkerRow(Table):
    """A registered worker."""

    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(primary_key=True)
    queues: Mapped[list[str]]
    seen_at: Mapped[datetime]
    since: Mapped[datetime | None] = mapped_column(default=now())
    """When it registered first."""
    slots: Mapped[int | None]
    """Number of jobs that it runs at a time."""


class ObservationRow(Table):
    """Counts of one gateway for one role in an experiment."""

    __tablename__ = "observations"

    model: Mapped[str] = mapped_column(primary_key=True)
    since: Mapped[str] = mapped_column(primary_key=True)
    """When the experiment began, as it stands in the rollout."""
    role: Mapped[str] = mapped_column(primary_key=True)
    gateway: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[Wide]
    counts: Mapped[dict[str, Any]]
    at: Mapped[datetime]


class VerdictRow(Table):
    """State of a canary's analysis; ``revision`` lets one of several schedulers write."""

    __tablename__ = "verdicts"

    model: Mapped[str] = mapped_column(primary_key=True)
    since: Mapped[str] = mapped_column(primary_key=True)
    revision: Mapped[int]
    state: Mapped[dict[str, Any]]
    path: Mapped[list[dict[str, Any]] | None]
    """The evidence over time, thinned; None as of before 0.4."""
    looked_at: Mapped[datetime | None]
    """When it was last analysed, whether or not there was anything new."""


class TrafficRow(Table):
    """What one gateway counted of one version in a slot of time."""

    __tablename__ = "traffic"

    model: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[Wide] = mapped_column(primary_key=True, autoincrement=False)
    gateway: Mapped[str] = mapped_column(primary_key=True)
    slot: Mapped[Wide] = mapped_column(primary_key=True, autoincrement=False, index=True)
    """When it began, in seconds since 1970."""
    counts: Mapped[dict[str, Any]]


class CapturedRow(Table):
    """A captured prediction: one row of a request, and the version's output."""

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
    margin: Mapped[float | None]
    """Score of the likeliest class less that of the next."""


class FeedbackRow(Table):
    """Feedback: the truth about a captured prediction."""

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
    chosen: Mapped[str] = mapped_column(String(16))
    """How the prediction came to be labelled."""


class TriggerRow(Table):
    """A trigger; ``revision`` counts changes and firings."""

    __tablename__ = "triggers"

    model: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    body: Mapped[dict[str, Any]]
    revision: Mapped[int]
    since: Mapped[datetime]
    fired_at: Mapped[datetime | None]
    job_id: Mapped[str | None]


class DriftRow(Table):
    """Drift of a version's inputs and outputs from those of its evaluation."""

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
    last_used_at: Mapped[datetime | None]


class AuditRow(Table):
    """One entry of the audit trail: never changed, and deleted by retention only."""

    __tablename__ = "audit"

    kind: Mapped[str] = mapped_column(String(16), primary_key=True)
    number: Mapped[Wide] = mapped_column(primary_key=True, autoincrement=False)
    """Within its kind, without gaps."""
    at: Mapped[datetime] = mapped_column(index=True)
    action: Mapped[str]
    outcome: Mapped[str] = mapped_column(String(16))
    by: Mapped[str]
    prefix: Mapped[str]
    role: Mapped[str]
    request_id: Mapped[str]
    model: Mapped[str | None] = mapped_column(index=True)
    version: Mapped[WideOrNone]
    subject: Mapped[str | None]
    detail: Mapped[dict[str, Any]]
    previous: Mapped[str] = mapped_column(String(64))
    """Hash of the entry before."""


class ChainRow(Table):
    """How far a chain of hashes goes: of one kind of the audit trail, or of one model's history."""

    __tablename__ = "chains"

    name: Mapped[str] = mapped_column(primary_key=True)
    count: Mapped[Wide]
    digest: Mapped[str] = mapped_column(String(64))
    """Hash of the last entry."""
    removed: Mapped[Wide]
    """Number of entries that retention has deleted, the oldest."""
    anchor: Mapped[str] = mapped_column(String(64))
    """Hash of the last one of them."""


class NotificationRow(Table):
    """An event that somebody is told of: when it was found, and when it is sent, or sent again."""

    __tablename__ = "notifications"
    id: Mapped[str] = mapped_column(String(160), primary_key=True)
    event: Mapped[str] = mapped_column(String(32))
    at: Mapped[datetime] = mapped_column(index=True)
    body: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(String(16), index=True)
    attempts: Mapped[int]
    due_at: Mapped[datetime]
