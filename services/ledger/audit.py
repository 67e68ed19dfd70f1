"""The audit trail: appended to, searched, verified; retention deletes the oldest entries of a kind."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select, tuple_, update

from modelyard.models.errors import UnknownName
from modelyard.models.registry.history import START, BrokenChain, Head
from modelyard.services.ledger.entry import Entry, Kind, StoredEntry
from modelyard.services.ledger.sql.clock import now
from modelyard.services.ledger.sql.database import Database, execute_change, insert_if_absent
from modelyard.services.ledger.sql.tables import AuditRow, ChainRow
from modelyard.services.ledger.trail import append_entry, hash_entry, read_entry

TRAIL, HISTORY = "audit ", "history "
"""How the names of chains begin: before a kind, and before a model."""
DAY_S = 24 * 3600.0
PAGE = 500


@dataclass(frozen=True)
class Chain:
    """A chain of hashes, as far as it goes."""

    name: str
    head: Head
    removed: int
    """Number of entries that retention has deleted, the oldest."""
    anchor: str
    """Hash of the last one of them."""


class Audit:
    """The audit trail. Each call is one transaction; safe for several processes."""

    def __init__(self, database: Database) -> None:
        self._session = database.session

    def record(self, *entries: Entry) -> None:
        """Appends entries of one kind. Raises ``StorageFailed``: then what they record must not happen."""
        with self._session() as session:
            for entry in entries:
                append_entry(session, entry)

    def find(
        self,
        *,
        filters: Mapping[str, Any],
        since: datetime | None = None,
        until: datetime | None = None,
        before: tuple[str, int] | None = None,
        limit: int = 50,
    ) -> tuple[StoredEntry, ...]:
        """Entries, the newest first.

        Args:
            filters: values of fields of ``StoredEntry``.
            before: kind and number of an entry: only those behind it.

        Raises:
            UnknownName: there is no such entry.
        """
        order = (AuditRow.at, AuditRow.kind, AuditRow.number)
        query = select(AuditRow).order_by(*(column.desc() for column in order)).limit(limit)
        query = query.where(*(getattr(AuditRow, name) == value for name, value in filters.items()))
        if since is not None:
            query = query.where(AuditRow.at >= since)
        if until is not None:
            query = query.where(AuditRow.at < until)
        with self._session() as session:
            if before is not None:
                last = session.get(AuditRow, before)
                if last is None:
                    raise UnknownName(f"unknown entry {before[0]}-{before[1]}")
                query = query.where(tuple_(*order) < (last.at, last.kind, last.number))
            return tuple(map(read_entry, session.scalars(query)))

    def prune(self, days: Mapping[Kind, float]) -> Mapping[Kind, int]:
        """Deletes entries that are too old, and says so in the trail; returns how many of each kind."""
        found = {kind: self._prune(kind, age) for kind, age in days.items()}
        return {kind: count for kind, count in found.items() if count}

    def list_chains(self) -> tuple[Chain, ...]:
        """How far each chain goes, of the trail and of histories."""
        with self._session() as session:
            return tuple(map(_chain, session.scalars(select(ChainRow).order_by(ChainRow.name))))

    def verify(self, kind: Kind) -> Head:
        """Checks every entry of a kind.

        Returns:
            How far it goes.

        Raises:
            BrokenChain: an entry was changed, added, removed or moved; says where.
        """
        while True:
            before = self._read_chain(f"{TRAIL}{kind}")
            try:
                return check_entries(before, self._read_entries(before, kind))
            except BrokenChain:
                if self._read_chain(before.name).removed == before.removed:
                    raise  # else retention came between

    def read_history_head(self, model: str) -> Head:
        """How far a model's history went when it was last recorded."""
        return self._read_chain(f"{HISTORY}{model}").head

    def record_history(self, model: str, known: Head, head: Head, changes: Sequence[Entry]) -> bool:
        """Moves the head of a model's history, and appends what was changed since to the trail.

        Returns:
            False, and nothing happens, if another process did it before.
        """
        name = f"{HISTORY}{model}"
        ours = (ChainRow.name == name, ChainRow.count == known.count, ChainRow.digest == known.digest)
        with self._session() as session:
            insert_if_absent(session, ChainRow(name=name, count=0, digest=START, removed=0, anchor=START))
            moved = update(ChainRow).where(*ours).values(count=head.count, digest=head.digest)
            if not execute_change(session, moved):
                return False
            for change in changes:
                append_entry(session, change)
            return True

    def _prune(self, kind: Kind, days: float) -> int:
        name, theirs = f"{TRAIL}{kind}", AuditRow.kind == kind
        old = select(AuditRow).where(theirs, AuditRow.at < now(-days * DAY_S))
        with self._session() as session:
            last = session.scalar(old.order_by(AuditRow.number.desc()).limit(1))
            if last is None:
                return 0
            moved = update(ChainRow).where(ChainRow.name == name, ChainRow.removed < last.number)
            anchor = hash_entry(read_entry(last))
            if not execute_change(session, moved.values(removed=last.number, anchor=anchor)):
                return 0  # another scheduler was quicker
            deleted = delete(AuditRow).where(theirs, AuditRow.number <= last.number)
            count: int = session.execute(deleted).rowcount  # type: ignore[attr-defined]  # a CursorResult
            detail = {"kind": kind, "entries": count, "until": last.number, "digest": anchor, "days": days}
            append_entry(session, Entry(Kind.AUDIT, "prune", "retention", detail=detail))
            return count

    def _read_chain(self, name: str) -> Chain:
        with self._session() as session:
            row = session.get(ChainRow, name)
            return _chain(row) if row else Chain(name, Head(), 0, START)

    def _read_entries(self, chain: Chain, kind: Kind) -> Iterator[StoredEntry]:
        """In pages, so that no transaction is long."""
        number = -1
        while True:
            following = (AuditRow.kind == kind, AuditRow.number > number, AuditRow.number <= chain.head.count)
            with self._session() as session:
                query = select(AuditRow).where(*following).order_by(AuditRow.number).limit(PAGE)
                page = tuple(map(read_entry, session.scalars(query)))
            yield from page
            if len(page) < PAGE:
                return
            number = page[-1].number


def check_entries(chain: Chain, entries: Iterator[StoredEntry]) -> Head:
    """Raises ``BrokenChain`` unless these are the chain's entries, and as they were."""
    number, digest = chain.removed, chain.anchor
    for entry in entries:
        number += 1
        if entry.number != number:
            raise BrokenChain(f"entry {number} is missing")
        if entry.previous != digest:
            raise BrokenChain(f"entry {max(1, number - 1)} was changed, or an entry there added, removed or moved")
        digest = hash_entry(entry)
    if number < chain.head.count:
        raise BrokenChain(f"{chain.head.count - number} entries are missing at its end, from {number + 1}")
    if digest != chain.head.digest:
        raise BrokenChain(f"entry {number} was changed: the ledger knows another one as its last")
    return chain.head


def _chain(row: ChainRow) -> Chain:
    return Chain(row.name, Head(row.count, row.digest), row.removed, row.anchor)
