"""Counts of canaries and shadows by gateway, the state of canary analysis, and drift."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import delete, select, update

from modelyard.services.experiment_counts import Role
from modelyard.services.ledger.sql.database import Database, execute_change, insert_if_absent
from modelyard.services.ledger.sql.tables import DriftRow, ObservationRow, VerdictRow


@dataclass(frozen=True)
class Drift:
    """Drift of a version's inputs and outputs."""

    model: str
    version: int
    answers: int
    """Number of predictions that were compared."""
    shifts: Mapping[str, Mapping[str, Any]]
    """``psi``, ``p_value`` and ``seen``, counts by bin, of each histogram."""
    at: datetime


class Observations:
    """Sums by experiment, role and gateway. Each call is one transaction; safe for several processes."""

    def __init__(self, database: Database) -> None:
        self._session = database.session

    def put_counts(
        self, model: str, role: Role, version: int, since: datetime, gateway: str, counts: Mapping[str, float]
    ) -> None:
        """Stores a gateway's counts, in place of its earlier ones. Raises ``StorageFailed``."""
        row = ObservationRow(
            model=model,
            since=since.isoformat(),
            role=role,
            gateway=gateway,
            version=version,
            counts=dict(counts),
            at=datetime.now(UTC),
        )
        with self._session() as session:
            session.merge(row)

    def sum_counts(self, model: str, since: datetime) -> dict[Role, Counter[str]]:
        """Sums of the counts of all gateways, by role."""
        query = select(ObservationRow).where(ObservationRow.model == model, ObservationRow.since == since.isoformat())
        found: dict[Any, Counter[str]] = {}
        with self._session() as session:
            for row in session.scalars(query):
                found.setdefault(row.role, Counter()).update(row.counts)
        return found

    def read_analysis(self, model: str, since: datetime) -> tuple[int, dict[str, Any]]:
        """The state of a canary's analysis, behind the revision to be passed with the next state."""
        with self._session() as session:
            row = session.get(VerdictRow, (model, since.isoformat()))
            return (row.revision, row.state) if row else (0, {})

    def save_analysis(self, model: str, since: datetime, revision: int, state: Mapping[str, Any]) -> bool:
        """Writes the next state; False, and nothing happens, if another scheduler was quicker."""
        with self._session() as session:
            if revision == 0:
                session.execute(
                    delete(VerdictRow).where(VerdictRow.model == model, VerdictRow.since != since.isoformat())
                )
                first = VerdictRow(model=model, since=since.isoformat(), revision=1, state=dict(state))
                return insert_if_absent(session, first)
            ours = (VerdictRow.model == model, VerdictRow.since == since.isoformat(), VerdictRow.revision == revision)
            values = {"revision": revision + 1, "state": dict(state)}
            return execute_change(session, update(VerdictRow).where(*ours).values(**values))

    def put_drift(self, drift: Drift) -> None:
        """Stores a version's drift, in place of an earlier one."""
        with self._session() as session:
            session.merge(DriftRow(**vars(drift) | {"shifts": dict(drift.shifts)}))

    def list_drift(self, model: str | None = None) -> tuple[Drift, ...]:
        """The latest drift of a model, or of all."""
        query = select(DriftRow).order_by(DriftRow.model)
        if model is not None:
            query = query.where(DriftRow.model == model)
        with self._session() as session:
            return tuple(
                Drift(row.model, row.version, row.answers, row.shifts, row.at) for row in session.scalars(query)
            )
