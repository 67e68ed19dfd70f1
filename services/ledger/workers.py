"""Which workers are there, and what they take."""

from collections.abc import Sequence

from sqlalchemy import delete, select

from modelyard.services.ledger.sql.clock import now
from modelyard.services.ledger.sql.database import Database
from modelyard.services.ledger.sql.tables import WorkerRow

SEEN_S = 60.0
"""A worker that has not been heard of for so long is not there."""


class Workers:
    """All that have been heard of lately. Each call is one transaction; safe for several processes."""

    def __init__(self, database: Database) -> None:
        self._session = database.session

    def register(self, worker: str, queues: Sequence[str]) -> None:
        """A worker is there, and takes jobs from these queues; it says so again and again."""
        with self._session() as session:
            session.execute(delete(WorkerRow).where(WorkerRow.seen_at < now(-SEEN_S)))
            session.merge(WorkerRow(name=worker, queues=list(queues), seen_at=now()))

    def unregister(self, worker: str) -> None:
        """The worker is not there any more."""
        with self._session() as session:
            session.execute(delete(WorkerRow).where(WorkerRow.name == worker))

    def queues(self) -> frozenset[str]:
        """Those that some worker takes jobs from."""
        query = select(WorkerRow.queues).where(WorkerRow.seen_at > now(-SEEN_S))
        with self._session() as session:
            return frozenset(queue for queues in session.scalars(query) for queue in queues)
