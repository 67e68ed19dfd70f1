"""Registered workers, the queues that they take jobs from, and how long jobs took."""

from collections.abc import Collection, Sequence

from sqlalchemy import delete, func, or_, select

from modelyard.services.ledger.job import UNDER_WAY, State, Training, Worker
from modelyard.services.ledger.sql.clock import now
from modelyard.services.ledger.sql.database import Database
from modelyard.services.ledger.sql.tables import JOBS, WorkerRow

WORKER_EXPIRES_S = 60.0
"""Seconds after which a worker that did not register again counts as gone."""
TRAINED = (State.SUCCEEDED, State.REJECTED)
"""A job that ended like this went through all its stages."""


class Workers:
    """Workers that have registered lately. Each call is one transaction; safe for several processes."""

    def __init__(self, database: Database) -> None:
        self._session = database.session

    def register(self, worker: str, queues: Sequence[str], slots: int = 1) -> None:
        """Registers a worker and its queues; to be repeated before ``WORKER_EXPIRES_S``."""
        with self._session() as session:
            session.execute(delete(WorkerRow).where(WorkerRow.seen_at < now(-WORKER_EXPIRES_S)))
            session.merge(WorkerRow(name=worker, queues=list(queues), seen_at=now(), slots=slots))

    def unregister(self, worker: str) -> None:
        """Removes a worker."""
        with self._session() as session:
            session.execute(delete(WorkerRow).where(WorkerRow.name == worker))

    def list_queues(self) -> frozenset[str]:
        """Queues that some worker takes jobs from."""
        return frozenset(queue for queues in self.list_alive().values() for queue in queues)

    def list_alive(self) -> dict[str, tuple[str, ...]]:
        """Queues of each worker that has registered lately."""
        return {worker.name: worker.queues for worker in self.list_workers()}

    def list_workers(self) -> tuple[Worker, ...]:
        """Workers that have registered lately, by name."""
        query = select(WorkerRow).where(WorkerRow.seen_at > now(-WORKER_EXPIRES_S)).order_by(WorkerRow.name)
        with self._session() as session:
            return tuple(
                Worker(row.name, tuple(row.queues), row.since, row.seen_at, row.slots or 1)
                for row in session.scalars(query)
            )

    def count_waiting_jobs(self) -> dict[str, int]:
        """Number of jobs that no worker runs, by devices: queued ones, and running ones whose lease has run out."""
        job = JOBS.c
        lost = job.state.in_(UNDER_WAY) & or_(job.lease_until.is_(None), job.lease_until < now())
        waiting = or_(job.state == State.QUEUED, lost)
        query = select(job.devices, func.count().label("jobs")).where(waiting)
        query = query.group_by(job.devices).order_by(job.devices)
        with self._session() as session:
            return {row.devices: row.jobs for row in session.execute(query)}

    def list_trainings(self, models: Collection[str], limit: int = 200) -> tuple[Training, ...]:
        """How long earlier jobs of these models took, the newest first."""
        job = JOBS.c
        whole = (job.model.in_(models), job.state.in_(TRAINED), job.started_at.is_not(None))
        columns = (job.model, job.recipe, job.overrides, job.devices, job.started_at, job.finished_at)
        query = select(*columns).where(*whole).order_by(job.created_at.desc()).limit(limit)
        with self._session() as session:
            return tuple(
                Training(*row[:4], (row.finished_at - row.started_at).total_seconds()) for row in session.execute(query)
            )
