"""Events that somebody is told of, and how telling goes: found from what the ledger has of them, sent at least once.

An event's id follows from the event, so it is one row, however many schedulers find it. An attempt is counted before it
is made: whoever ends in the middle of one leaves it to be made again, under the same id and with the next number.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import and_, delete, exists, select, update

from modelyard.services.ledger.job import Job, State
from modelyard.services.ledger.sql.clock import now
from modelyard.services.ledger.sql.database import Database, execute_change, insert_if_absent
from modelyard.services.ledger.sql.job_rows import COLUMNS, JOB, read_jobs
from modelyard.services.ledger.sql.tables import NotificationRow

WAITING, SENT, GIVEN_UP, BEGUN = "waiting", "sent", "given up", "begun"
BEGIN = "begin"
"""Id of the row that says since when somebody is told."""
JOB_ID = "job "
"""How the ids of notifications of jobs begin."""
MAX_FOUND = 100
"""Jobs that are found at a time."""


@dataclass(frozen=True)
class Notification:
    """One event, and what is said of it."""

    id: str
    event: str
    body: Mapping[str, Any]
    attempts: int = 0
    """Times that it was sent, this one included."""


def make_row(notification: Notification, state: str) -> NotificationRow:
    moment, event, body = datetime.now(UTC), str(notification.event), dict(notification.body)
    return NotificationRow(
        id=notification.id, event=event, at=moment, body=body, state=state, attempts=0, due_at=moment
    )


def name_job(job_id: str) -> str:
    """Id of the notification of a job's end."""
    return f"{JOB_ID}{job_id}"


class Notifications:
    """Each call is one transaction; safe for several processes."""

    def __init__(self, database: Database) -> None:
        self._session = database.session

    def begin(self) -> datetime:
        """When this was first called: what happened before is told to nobody."""
        with self._session() as session:
            if begun := session.get(NotificationRow, BEGIN):
                return begun.at
            insert_if_absent(session, make_row(Notification(BEGIN, BEGIN, {}), BEGUN))
            return session.get_one(NotificationRow, BEGIN).at

    def list_untold_jobs(self, states: Collection[State], since: datetime) -> tuple[Job, ...]:
        """Jobs that ended so since a time and have no notification yet, oldest first; of searches no rejected ones."""
        told = exists().where(NotificationRow.id == JOB_ID + JOB.id)
        of_search = and_(JOB.state == State.REJECTED, JOB.group.is_not(None))
        query = select(*COLUMNS).where(JOB.state.in_(states), JOB.finished_at >= since, ~told, ~of_search)
        with self._session() as session:
            return tuple(read_jobs(session, query.order_by(JOB.finished_at).limit(MAX_FOUND)))

    def add(self, found: Sequence[Notification]) -> None:
        """Has those sent that were not added before."""
        with self._session() as session:
            ids = [each.id for each in found]
            known = set(session.scalars(select(NotificationRow.id).where(NotificationRow.id.in_(ids))))
            for each in found:
                if each.id not in known:
                    insert_if_absent(session, make_row(each, WAITING))

    def list_due(self, limit: int) -> tuple[Notification, ...]:
        """Those whose time has come, the oldest first."""
        due = (NotificationRow.state == WAITING, NotificationRow.due_at <= now())
        with self._session() as session:
            rows = session.scalars(select(NotificationRow).where(*due).order_by(NotificationRow.at).limit(limit))
            return tuple(Notification(row.id, row.event, row.body, row.attempts) for row in rows)

    def claim(self, notification: Notification, again_s: float) -> Notification | None:
        """Counts an attempt before it is made; None if another process makes it.

        Args:
            again_s: when the next one is made, unless ``end`` or ``postpone`` says else.
        """
        values = {"attempts": notification.attempts + 1, "due_at": now(again_s)}
        if not self._change(notification, **values):
            return None
        return Notification(notification.id, notification.event, notification.body, notification.attempts + 1)

    def postpone(self, notification: Notification, again_s: float) -> None:
        """Has it sent again, not sooner than in so many seconds."""
        self._change(notification, due_at=now(again_s))

    def end(self, notification: Notification, *, sent: bool) -> None:
        """It was sent, or is given up."""
        self._change(notification, state=SENT if sent else GIVEN_UP)

    def prune(self, older_than: timedelta) -> None:
        """Deletes what was found so long ago."""
        old = (NotificationRow.at < datetime.now(UTC) - older_than, NotificationRow.id != BEGIN)
        with self._session() as session:
            session.execute(delete(NotificationRow).where(NotificationRow.state != WAITING, *old))

    def _change(self, notification: Notification, **values: Any) -> bool:
        """Only while this attempt is the last one."""
        ours = (
            NotificationRow.id == notification.id,
            NotificationRow.state == WAITING,
            NotificationRow.attempts == notification.attempts,
        )
        with self._session() as session:
            return execute_change(session, update(NotificationRow).where(*ours).values(**values))
