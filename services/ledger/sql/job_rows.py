"""Jobs' rows: how they are read, and conditions about who holds them."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, or_
from sqlalchemy.orm import Session

from modelyard.services.ledger.job import UNDER_WAY, Job
from modelyard.services.ledger.sql.clock import now
from modelyard.services.ledger.sql.tables import JOBS, EventRow

JOB = JOBS.c
NO_LEASE: dict[str, Any] = {"worker": None, "lease_until": None}
COLUMNS = [JOB[name] for name in Job.model_fields]


def read_jobs(session: Session, query: Select[Any]) -> Iterator[Job]:
    """Jobs of rows, not validated: an older release may have accepted other values."""
    return (Job.model_construct(**row) for row in session.execute(query).mappings())


def is_held_by(job: Job) -> ColumnElement[bool]:
    """Whether the job runs, or is being published, in this attempt."""
    return and_(JOB.id == job.id, JOB.state.in_(UNDER_WAY), JOB.attempts == job.attempts)


def has_no_lease() -> ColumnElement[bool]:
    """Whether no lease holds the job."""
    return or_(JOB.lease_until.is_(None), JOB.lease_until < now())


def spent_s(job: Job) -> float:
    """Seconds that a running job has run, with the attempts before."""
    assert job.started_at
    return job.spent_s + (datetime.now(UTC) - job.started_at).total_seconds()


def end_values(result: Mapping[str, Any]) -> dict[str, Any]:
    """Columns of a job that ends now."""
    return {"result": dict(result), "finished_at": datetime.now(UTC)} | NO_LEASE


def record_event(session: Session, job_id: str, kind: str, body: Mapping[str, Any]) -> None:
    """Appends to the job's event log."""
    session.add(EventRow(job_id=job_id, at=datetime.now(UTC), kind=kind, body=dict(body)))
