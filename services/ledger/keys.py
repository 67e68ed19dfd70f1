"""API keys in the ledger: their names, roles and hashes, never the keys themselves."""

from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy import func, or_, select, text, update
from sqlalchemy.orm import Session

from modelyard.models.errors import UnknownName
from modelyard.services import keys
from modelyard.services.keys import MAX_ACTIVE, Key, KeyRequest, Role, TooManyKeys
from modelyard.services.ledger.entry import SYSTEM, Entry, Kind, Origin
from modelyard.services.ledger.sql.clock import now
from modelyard.services.ledger.sql.database import Database, execute_change
from modelyard.services.ledger.sql.tables import KeyRow
from modelyard.services.ledger.trail import append_entry


class Keys:
    """All keys. Each call is one transaction; safe for several processes."""

    def __init__(self, database: Database) -> None:
        self._session = database.session

    def create(self, request: KeyRequest, by: str, secret: bytes, origin: Origin = SYSTEM) -> tuple[Key, str]:
        """A new key, and its text, which is not stored.

        Args:
            secret: the server's.

        Raises:
            TooManyKeys: two of this name are active.
        """
        prefix, shown_once, digest = keys.generate_key(secret)
        with self._session() as session:
            _wait_for_others(session)
            created_at = _time(session)
            row = KeyRow(
                prefix=prefix,
                digest=digest,
                name=request.name,
                role=request.role,
                models=list(request.models),
                by=by,
                created_at=created_at,
                expires_at=created_at + timedelta(days=request.days),
                revoked_at=None,
            )
            session.add(row)
            session.flush()  # SQLite lets one writer in, from here on: what is counted now stays
            _check_count(session, request.name)
            detail = request.model_dump(mode="json")
            append_entry(session, Entry(Kind.KEY, "create", by, origin, subject=prefix, detail=detail))
            return _key(row, created_at), shown_once

    def list_keys(self, ended_within_s: float | None = None) -> tuple[Key, ...]:
        """Keys by name, the newest first; expired and revoked ones all, or only those of the last seconds."""
        query = select(KeyRow, now()).order_by(KeyRow.name, KeyRow.created_at.desc())
        if ended_within_s is not None:
            since = now(-ended_within_s)
            query = query.where(KeyRow.expires_at > since, or_(KeyRow.revoked_at.is_(None), KeyRow.revoked_at > since))
        with self._session() as session:
            return tuple(_key(row, at) for row, at in session.execute(query))

    def revoke(self, prefix: str, by: str, origin: Origin = SYSTEM) -> Key:
        """Revokes a key; one that was revoked before stays as it is. Raises ``UnknownName``."""
        theirs = (KeyRow.prefix == prefix, KeyRow.revoked_at.is_(None))
        with self._session() as session:
            revoked = execute_change(session, update(KeyRow).where(*theirs).values(revoked_at=now()))
            row = session.get(KeyRow, prefix)
            if row is None:
                raise UnknownName(f"unknown key {prefix[:12]!r}")
            if revoked:
                detail = {"name": row.name, "role": row.role}
                append_entry(session, Entry(Kind.KEY, "revoke", by, origin, subject=prefix, detail=detail))
            return _key(row, _time(session))

    def note_use(self, prefixes: Collection[str]) -> None:
        """Notes that these keys were used just now. No entry in the audit trail: it would have one for each minute."""
        with self._session() as session:
            theirs = KeyRow.prefix.in_(sorted(prefixes))
            session.execute(update(KeyRow).where(theirs).values(last_used_at=now()))


def _wait_for_others(session: Session) -> None:
    """Locks the creation of keys until this transaction ends; readers do not wait. SQLite does so by itself."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("LOCK TABLE keys IN SHARE ROW EXCLUSIVE MODE"))


def _time(session: Session) -> datetime:
    """The database's."""
    return session.scalars(select(now())).one()


def _check_count(session: Session, name: str) -> None:
    theirs = (KeyRow.name == name, KeyRow.revoked_at.is_(None), KeyRow.expires_at > now())
    if (session.scalar(select(func.count()).select_from(KeyRow).where(*theirs)) or 0) > MAX_ACTIVE:
        raise TooManyKeys(f"{name} has {MAX_ACTIVE} active keys already; revoke one first")


def _key(row: KeyRow, at: datetime) -> Key:
    expires_at = row.expires_at
    return Key(
        prefix=row.prefix,
        digest=row.digest,
        name=row.name,
        role=Role(row.role),
        models=tuple(row.models),
        by=row.by,
        created_at=row.created_at,
        expires_at=expires_at,
        revoked_at=row.revoked_at,
        left_s=(expires_at - at).total_seconds(),
        last_used_at=row.last_used_at,
    )
