"""Counts of canaries, shadows and versions by gateway, the state of canary analysis, and drift."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import delete, select, update

from modelyard.services.experiment_counts import TRAFFIC_SLOT_S, Role
from modelyard.services.ledger.sql.database import Database, execute_change, insert_if_absent
from modelyard.services.ledger.sql.tables import DriftRow, ObservationRow, TrafficRow, VerdictRow


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


NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Analysis:
    """State of a canary's analysis."""

    since: str = ""
    """When the canary started, as it stands in the rollout."""
    revision: int = 0
    """To be passed with the next state; 0 while there is none."""
    state: Mapping[str, Any] = field(default_factory=dict)
    path: Sequence[Mapping[str, float]] = ()
    """The evidence over time, the oldest first."""
    looked_at: datetime = NEVER
    """When canary analysis last looked."""

    @property
    def has_looked(self) -> bool:
        """False also of a canary that an earlier release analysed, which did not say when."""
        return self.looked_at > NEVER


@dataclass(frozen=True)
class Report:
    """What one gateway last reported of an experiment."""

    gateway: str
    role: Role
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

    def list_reports(self, model: str, since: datetime) -> tuple[Report, ...]:
        """When each gateway last reported."""
        query = select(ObservationRow).where(ObservationRow.model == model, ObservationRow.since == since.isoformat())
        with self._session() as session:
            rows = session.scalars(query.order_by(ObservationRow.at.desc()))
            return tuple(Report(row.gateway, row.role, row.at) for row in rows)  # type: ignore[arg-type]  # a role

    def read_analysis(self, model: str, since: datetime) -> Analysis:
        """The state of a canary's analysis; an empty one before the first look."""
        with self._session() as session:
            row = session.get(VerdictRow, (model, since.isoformat()))
            return _analysis(row) if row else Analysis(since.isoformat())

    def find_last_analysis(self, model: str) -> Analysis | None:
        """The newest one: of the running canary, or else of the last."""
        query = select(VerdictRow).where(VerdictRow.model == model).order_by(VerdictRow.since.desc()).limit(1)
        with self._session() as session:
            row = session.scalar(query)
            return _analysis(row) if row else None

    def save_analysis(
        self,
        model: str,
        since: datetime,
        revision: int,
        state: Mapping[str, Any],
        path: Sequence[Mapping[str, float]] = (),
    ) -> bool:
        """Writes the next state; False, and nothing happens, if another scheduler was quicker."""
        values = {"state": dict(state), "path": list(path), "looked_at": datetime.now(UTC)}
        with self._session() as session:
            if revision == 0:
                session.execute(
                    delete(VerdictRow).where(VerdictRow.model == model, VerdictRow.since != since.isoformat())
                )
                return insert_if_absent(session, VerdictRow(model=model, since=since.isoformat(), revision=1, **values))
            ours = (VerdictRow.model == model, VerdictRow.since == since.isoformat(), VerdictRow.revision == revision)
            return execute_change(session, update(VerdictRow).where(*ours).values(revision=revision + 1, **values))

    def note_look(self, model: str, since: datetime) -> None:
        """Writes down that canary analysis looked, and found nothing new."""
        ours = (VerdictRow.model == model, VerdictRow.since == since.isoformat())
        with self._session() as session:
            execute_change(session, update(VerdictRow).where(*ours).values(looked_at=datetime.now(UTC)))

    def put_traffic(self, model: str, version: int, gateway: str, slot: int, counts: Mapping[str, int]) -> None:
        """Stores what a gateway counted in a slot, in place of its earlier counts of that slot."""
        row = TrafficRow(model=model, version=version, gateway=gateway, slot=slot, counts=dict(counts))
        with self._session() as session:
            session.merge(row)

    def sum_traffic(
        self, models: Collection[str], since: datetime, besides: str = ""
    ) -> dict[tuple[str, int], Counter[str]]:
        """Sums of all gateways' counts since a time, by model and version, by whole slots.

        Args:
            besides: a gateway that is left out.
        """
        first = int(since.timestamp()) - TRAFFIC_SLOT_S
        query = select(TrafficRow).where(TrafficRow.model.in_(models), TrafficRow.slot > first)
        found: dict[tuple[str, int], Counter[str]] = {}
        with self._session() as session:
            for row in session.scalars(query.where(TrafficRow.gateway != besides)):
                found.setdefault((row.model, row.version), Counter()).update(row.counts)
        return found

    def prune_traffic(self, older_than: timedelta) -> None:
        """Deletes counts of slots that began so long ago."""
        with self._session() as session:
            first = int((datetime.now(UTC) - older_than).timestamp())
            session.execute(delete(TrafficRow).where(TrafficRow.slot < first))

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


def _analysis(row: VerdictRow) -> Analysis:
    return Analysis(row.since, row.revision, row.state, tuple(row.path or ()), row.looked_at or NEVER)
