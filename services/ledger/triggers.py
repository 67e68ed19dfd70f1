"""Triggers in the ledger: conditions that start jobs, and their last firings."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import delete, select, update

from modelyard.models.errors import UnknownName
from modelyard.services.ledger.entry import SYSTEM, Entry, Kind, Origin
from modelyard.services.ledger.job import State
from modelyard.services.ledger.sql.database import Database, execute_change, insert_if_absent
from modelyard.services.ledger.sql.tables import JOBS, TriggerRow
from modelyard.services.ledger.trail import append_entry

JOB = JOBS.c


@dataclass(frozen=True)
class StoredTrigger:
    """One trigger."""

    model: str
    name: str
    body: Mapping[str, Any]
    """The trigger as it was set."""
    revision: int
    """Another one after each change and each firing."""
    since: datetime
    """When it was last changed."""
    fired_at: datetime | None
    job_id: str | None
    """The job that it started last."""


@dataclass(frozen=True)
class Firing:
    """A job that a trigger has started."""

    at: datetime
    job: str
    state: State
    reason: str
    """Why it was due."""
    finished_at: datetime | None


class Triggers:
    """All triggers. Each call is one transaction; safe for several processes."""

    def __init__(self, database: Database) -> None:
        self._session = database.session

    def put(self, model: str, name: str, body: Mapping[str, Any], by: str, origin: Origin = SYSTEM) -> StoredTrigger:
        """Sets or replaces a trigger; the time of its last firing stays."""
        with self._session() as session:
            moment = datetime.now(UTC)
            row = TriggerRow(model=model, name=name, body=dict(body), revision=1, since=moment)
            if not insert_if_absent(session, row):
                row = session.get_one(TriggerRow, (model, name), with_for_update=True)
                row.body, row.revision, row.since = dict(body), row.revision + 1, moment
            append_entry(session, Entry(Kind.TRIGGER, "set", by, origin, model=model, subject=name, detail=body))
            return _trigger(row)

    def list_triggers(self, model: str | None = None) -> tuple[StoredTrigger, ...]:
        """Triggers of a model, or of all."""
        query = select(TriggerRow).order_by(TriggerRow.model, TriggerRow.name)
        if model is not None:
            query = query.where(TriggerRow.model == model)
        with self._session() as session:
            return tuple(map(_trigger, session.scalars(query)))

    def list_firings(self, model: str, name: str, limit: int) -> tuple[Firing, ...]:
        """Jobs that a trigger has started, the newest first; as long as jobs are kept."""
        author = f"trigger {model}/{name}: "
        columns = (JOB.created_at, JOB.id, JOB.state, JOB.by, JOB.finished_at)
        theirs = (JOB.model == model, JOB.by.startswith(author, autoescape=True), JOB.retry_of.is_(None))
        query = select(*columns).where(*theirs).order_by(JOB.created_at.desc(), JOB.id.desc()).limit(limit)
        with self._session() as session:
            rows = session.execute(query)
            return tuple(Firing(at, job, state, by.removeprefix(author), end) for at, job, state, by, end in rows)

    def remove(self, model: str, name: str, by: str, origin: Origin = SYSTEM) -> None:
        """Raises ``UnknownName``."""
        with self._session() as session:
            theirs = (TriggerRow.model == model, TriggerRow.name == name)
            if not execute_change(session, delete(TriggerRow).where(*theirs)):
                raise UnknownName(f"{model[:64]} has no trigger {name[:64]!r}")
            append_entry(session, Entry(Kind.TRIGGER, "remove", by, origin, model=model, subject=name))

    def record_firing(self, trigger: StoredTrigger, job_id: str) -> bool:
        """Records a firing; False if another scheduler did before, or the trigger was changed."""
        ours = (
            TriggerRow.model == trigger.model,
            TriggerRow.name == trigger.name,
            TriggerRow.revision == trigger.revision,
        )
        values = {"revision": trigger.revision + 1, "fired_at": datetime.now(UTC), "job_id": job_id}
        with self._session() as session:
            return execute_change(session, update(TriggerRow).where(*ours).values(**values))


def _trigger(row: TriggerRow) -> StoredTrigger:
    fired_at = row.fired_at
    return StoredTrigger(row.model, row.name, row.body, row.revision, row.since, fired_at, row.job_id)
