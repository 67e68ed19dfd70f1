"""How many jobs there are and how they ended: what metrics say of all of them."""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import func, select

from modelyard.services.ledger.job import FINAL, State
from modelyard.services.ledger.sql.database import Database
from modelyard.services.ledger.sql.job_rows import JOB


class Ended(NamedTuple):
    """Jobs of a model that ended in one way."""

    model: str
    state: State


class JobCounts:
    """Sums over all jobs. Each call is one transaction."""

    def __init__(self, database: Database) -> None:
        self._session = database.session

    def count_open(self) -> Counter[State]:
        """Jobs that have not ended, by state."""
        query = select(JOB.state, func.count()).where(JOB.state.not_in(FINAL)).group_by(JOB.state)
        with self._session() as session:
            return Counter({row[0]: row[1] for row in session.execute(query)})

    def count_open_by_devices(self) -> Counter[str]:
        """Jobs that have not ended, by the devices to train on."""
        query = select(JOB.devices, func.count()).where(JOB.state.not_in(FINAL)).group_by(JOB.devices)
        with self._session() as session:
            return Counter({row[0]: row[1] for row in session.execute(query)})

    def count_ended(self) -> Mapping[Ended, int]:
        """Jobs that have ended since the ledger was made; 0 for each way that no job of a known model has ended in."""
        query = select(JOB.model, JOB.state, func.count()).group_by(JOB.model, JOB.state)
        found: dict[Ended, int] = {}
        with self._session() as session:
            for model, state, count in session.execute(query):
                for final in FINAL:
                    found.setdefault(Ended(model, final), 0)
                if state in FINAL:
                    found[Ended(model, state)] = count
        return found

    def count_losses(self) -> int:
        """Attempts whose worker was lost, over all jobs."""
        with self._session() as session:
            return session.scalar(select(func.sum(JOB.losses))) or 0

    def measure_longest_wait_s(self) -> float:
        """Seconds since the oldest queued job was submitted; 0 if none waits."""
        query = select(func.min(JOB.created_at)).where(JOB.state == State.QUEUED)
        with self._session() as session:
            oldest = session.scalar(query)
        return max(0.0, (datetime.now(UTC) - oldest).total_seconds()) if oldest else 0.0

    def list_newest(self) -> dict[str, str]:
        """The newest job of each model that succeeded, by model."""
        newest = select(JOB.model, func.max(JOB.created_at).label("at")).where(JOB.state == State.SUCCEEDED)
        of_each = newest.group_by(JOB.model).subquery()
        query = select(JOB.model, JOB.id).join(
            of_each, (JOB.model == of_each.c.model) & (JOB.created_at == of_each.c.at)
        )
        with self._session() as session:
            return {row.model: row.id for row in session.execute(query)}
