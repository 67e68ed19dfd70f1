"""Searches in the ledger: plans, and the jobs of each rung."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select, update

from modelyard.models.errors import UnknownName
from modelyard.services.ledger.entry import SYSTEM, Entry, Kind, Origin
from modelyard.services.ledger.job import KeyReused
from modelyard.services.ledger.sql.database import Database, execute_change, insert_if_absent
from modelyard.services.ledger.sql.tables import SearchRow
from modelyard.services.ledger.trail import append_entry

RUNNING, SUCCEEDED, FAILED, CANCELLED = "running", "succeeded", "failed", "cancelled"


@dataclass(frozen=True)
class Tried:
    """One trial in one rung."""

    trial: int
    job: str


@dataclass(frozen=True)
class Search:
    """One search."""

    id: str
    model: str
    by: str
    plan: Mapping[str, Any]
    """``modelyard.services.searches.Plan``."""
    state: str
    rungs: tuple[tuple[Tried, ...], ...]
    """Rungs that have begun."""
    reason: str
    """Why it ended."""
    revision: int
    """Another one after each step."""
    created_at: datetime
    finished_at: datetime | None


class Searches:
    """All searches. Each call is one transaction; safe for several processes."""

    def __init__(self, database: Database) -> None:
        self._session = database.session

    def add(self, search_id: str, model: str, by: str, plan: Mapping[str, Any], origin: Origin = SYSTEM) -> Search:
        """Accepts a search; one that is there under this id is returned as it is now.

        Raises:
            KeyReused: that one is another.
        """
        row = SearchRow(
            id=search_id,
            model=model,
            by=by,
            plan=dict(plan),
            state=RUNNING,
            progress={"rungs": [], "reason": ""},
            revision=0,
            created_at=datetime.now(UTC),
        )
        with self._session() as session:
            if insert_if_absent(session, row):
                entry = Entry(Kind.SEARCH, "submit", by, origin, model=model, subject=search_id, detail=plan["asked"])
                append_entry(session, entry)
                return _search(row)
            earlier = session.get_one(SearchRow, search_id)
            if earlier.plan["asked"] != plan["asked"]:
                raise KeyReused(f"the Idempotency-Key was used for another search, {search_id}")
            return _search(earlier)

    def get(self, search_id: str, models: Collection[str] | None = None, by: str | None = None) -> Search:
        """One search, of these models and by this author if given. Raises ``UnknownName``."""
        with self._session() as session:
            row = session.get(SearchRow, search_id)
            foreign = row and ((models is not None and row.model not in models) or (by is not None and row.by != by))
            if row is None or foreign:
                raise UnknownName(f"unknown search {search_id[:64]!r}")
            return _search(row)

    def find(
        self, state: str | None = None, limit: int = 200, models: Collection[str] | None = None
    ) -> tuple[Search, ...]:
        """Searches in a state, or in any; of these models, or of all; the newest first."""
        query = select(SearchRow).order_by(SearchRow.created_at.desc(), SearchRow.id).limit(limit)
        if state is not None:
            query = query.where(SearchRow.state == state)
        if models is not None:
            query = query.where(SearchRow.model.in_(models))
        with self._session() as session:
            return tuple(map(_search, session.scalars(query)))

    def begin_rung(self, search: Search, tried: Sequence[Tried]) -> bool:
        """Records the jobs of the next rung; False if another scheduler took a step before, or the search has ended."""
        return self._step(search, RUNNING, [*search.rungs, tuple(tried)], "")

    def end(self, search: Search, state: str, reason: str) -> bool:
        """Ends a search; False if another scheduler took a step before, or it has ended."""
        return self._step(search, state, search.rungs, reason)

    def cancel(self, search: Search, by: str, origin: Origin = SYSTEM) -> bool:
        """As ``end``, for a person."""
        entry = Entry(Kind.SEARCH, "cancel", by, origin, model=search.model, subject=search.id)
        return self._step(search, CANCELLED, search.rungs, f"cancelled by {by}", entry)

    def _step(
        self, search: Search, state: str, rungs: Sequence[Sequence[Tried]], reason: str, entry: Entry | None = None
    ) -> bool:
        ours = (SearchRow.id == search.id, SearchRow.revision == search.revision, SearchRow.state == RUNNING)
        values = {
            "state": state,
            "progress": {"rungs": [[vars(tried) for tried in rung] for rung in rungs], "reason": reason},
            "revision": search.revision + 1,
            "finished_at": None if state == RUNNING else datetime.now(UTC),
        }
        with self._session() as session:
            changed = execute_change(session, update(SearchRow).where(*ours).values(**values))
            if changed and entry:
                append_entry(session, entry)
            return changed


def _search(row: SearchRow) -> Search:
    rungs = tuple(tuple(Tried(**tried) for tried in rung) for rung in row.progress["rungs"])
    finished_at = row.finished_at
    return Search(
        id=row.id,
        model=row.model,
        by=row.by,
        plan=row.plan,
        state=row.state,
        rungs=rungs,
        reason=row.progress["reason"],
        revision=row.revision,
        created_at=row.created_at,
        finished_at=finished_at,
    )
