"""Entries of the audit trail, and how one is appended within the transaction of what it records.

Each kind is a chain of its own, so that the oldest entries of one kind can be deleted while the others stay whole. An
entry carries the hash of the one before; how far the chain goes, and the hash of its last entry, stand in ``chains``.
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast, overload

from sqlalchemy import Table, insert, update
from sqlalchemy.orm import Session

from modelyard.models.registry.history import START
from modelyard.services.keys import mask_keys
from modelyard.services.ledger.entry import Entry, Kind, Origin, StoredEntry
from modelyard.services.ledger.job import Job, JobRequest
from modelyard.services.ledger.sql.clock import now
from modelyard.services.ledger.sql.database import insert_if_absent
from modelyard.services.ledger.sql.tables import AuditRow, ChainRow

AUDIT, CHAINS = cast("Table", AuditRow.__table__), cast("Table", ChainRow.__table__)
"""Written to without the object mapper, which would cost a submission more than the statements do."""


def append_entry(session: Session, entry: Entry) -> None:
    """Appends to the trail, as the last thing that a transaction does: entries of one kind wait for each other.

    API keys in any of its texts are masked.
    """
    name = f"audit {entry.kind}"
    number, previous, at = _extend_chain(session, name)
    stored = StoredEntry(
        kind=entry.kind,
        number=number,
        at=at,
        action=entry.action,
        outcome=entry.outcome,
        by=_clean(entry.by),
        prefix=entry.origin.prefix,
        role=entry.origin.role,
        request_id=entry.origin.request_id,
        model=_clean(entry.model),
        version=entry.version,
        subject=_clean(entry.subject),
        detail=json.loads(_clean(json.dumps(dict(entry.detail), default=str))),
        previous=previous,
    )
    session.execute(insert(AUDIT).values(vars(stored)))
    session.execute(update(CHAINS).where(CHAINS.c.name == name).values(digest=hash_entry(stored)))


def _extend_chain(session: Session, name: str) -> tuple[int, str, datetime]:
    """Counts one more entry, and locks the chain until the transaction ends.

    Returns:
        The entry's number, the hash that it carries, and the database's time.
    """
    chain = CHAINS.c
    extend = update(CHAINS).where(chain.name == name).values(count=chain.count + 1)
    extend = extend.returning(chain.count, chain.digest, now())
    found = session.execute(extend).one_or_none()
    if found is None:
        insert_if_absent(session, ChainRow(name=name, count=0, digest=START, removed=0, anchor=START))
        found = session.execute(extend).one()
    return found[0], found[1], found[2]


@overload
def _clean(text: str) -> str: ...
@overload
def _clean(text: None) -> None: ...
def _clean(text: str | None) -> str | None:
    """Without API keys, and without NUL, which PostgreSQL's texts cannot hold."""
    return None if text is None else mask_keys(text).replace("\x00", "")


def describe_submission(job: Job, origin: Origin) -> Entry:
    """The entry of the audit trail for a job that is accepted."""
    asked = job.model_dump(include={*JobRequest.model_fields, "devices", "retry_of", "group"}, exclude={"model"})
    detail = {name: value for name, value in asked.items() if value is not None}
    action = "retry" if job.retry_of else "submit"
    return Entry(Kind.JOB, action, job.by, origin, model=job.model, subject=job.id, detail=detail)


def describe_version(job: Job, result: Mapping[str, Any]) -> Entry:
    """The entry of the audit trail for the version that a job has published."""
    by, version = f"job {job.id} of {job.by}", int(result["version"])
    return Entry(Kind.VERSION, "publish", by, model=job.model, version=version, subject=job.id)


def read_entry(row: AuditRow) -> StoredEntry:
    return StoredEntry(**{name: getattr(row, name) for name in StoredEntry.__dataclass_fields__})


def hash_entry(entry: StoredEntry) -> str:
    """SHA-256 of all of an entry, the hash of the one before included."""
    fields = vars(entry) | {"at": entry.at.isoformat(), "kind": str(entry.kind), "outcome": str(entry.outcome)}
    return hashlib.sha256(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
