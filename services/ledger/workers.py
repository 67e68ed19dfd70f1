"""Registered workers, and the queues that they take jobs from."""

from collections.abc import Sequence

from sqlalchemy import delete, func, or_, select

from modelyard.services.ledger.job import UNDER_WAY, State
from modelyard.services.ledger.sql.clock import now
from modelyard.services.ledger.sql.database import Database
from modelyard.services.ledger.sql.tables import JOBS, WorkerRow

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
        return frozenset(queue for queues in self.list_alive().values() for queue in queues)

    def list_alive(self) -> dict[str, tuple[str, ...]]:
        """Queues of each worker that has registered lately."""
        query = select(WorkerRow.name, WorkerRow.queues).where(WorkerRow.seen_at > now(-WORKER_EXPIRES_S))
        with self._session() as session:
            return {name: tuple(queues) for name, queues in session.execute(query)}

    def count_waiting_jobs(self) -> dict[str, int]:
        """Number of jobs that no worker runs, by devices: queued ones, and running ones whose lease has run out."""
        job = JOBS.c
        lost = job.state.in_(UNDER_WAY) & or_(job.lease_until.is_(None), job.lease_until < now())
        waiting = or_(job.state == State.QUEUED, lost)
        query = select(job.devices, func.count().label("jobs")).where(waiting).group_by(job.devices)
        with self._session() as session:
            return {row.devices: row.jobs for row in session.execute(query)}
