"""Registered workers, and the queues that they take jobs from."""

from collections.abc import Sequence

from sqlalchemy import delete, select

from modelyard.services.ledger.sql.clock import now
from modelyard.services.ledger.sql.database import Database
from modelyard.services.ledger.sql.tables import WorkerRow

WORKER_EXPIRES_S = 60.0
"""Seconds after which a worker that did not register again counts as gone."""


class Workers:
    """Workers that have registered lately. Each call is one transaction; safe for several processes."""

    def __init__(self, database: Database) -> None:
        self._session = database.session

    def register(self, worker: str, queues: Sequence[str]) -> None:
        """Registers a worker and its queues; to be repeated before ``WORKER_EXPIRES_S``."""
        with self._session() as session:
            session.execute(delete(WorkerRow).where(WorkerRow.seen_at < now(-WORKER_EXPIRES_S)))
            session.merge(WorkerRow(name=worker, queues=list(queues), seen_at=now()))

    def unregister(self, worker: str) -> None:
        """Removes a worker."""
        with self._session() as session:
            session.execute(delete(WorkerRow).where(WorkerRow.name == worker))

    def list_queues(self) -> frozenset[str]:
        """Queues that some worker takes jobs from."""
        query = select(WorkerRow.queues).where(WorkerRow.seen_at > now(-WORKER_EXPIRES_S))
        with self._session() as session:
            return frozenset(queue for queues in session.scalars(query) for queue in queues)
