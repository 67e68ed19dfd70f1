"""Output of jobs' processes."""

from dataclasses import dataclass

from sqlalchemy import delete, func, select

from modelyard.services.ledger.sql.database import Database
from modelyard.services.ledger.sql.tables import LogRow

LOG_CHARS = 256 * 1024
"""Maximum of characters stored of a job's output: the newest."""


@dataclass(frozen=True)
class LogPart:
    """A log from some place on."""

    text: str
    next: int
    """From where to go on; grows."""
    complete: bool
    """Whether nothing before it was deleted that was not read yet."""


class Logs:
    """One log per job. Each call is one transaction; safe for several processes."""

    def __init__(self, database: Database) -> None:
        self._session = database.session

    def write(self, job_id: str, text: str) -> None:
        """Appends output of a job's processes, and deletes the oldest beyond ``LOG_CHARS``."""
        room = LOG_CHARS - len(text[-LOG_CHARS:])
        sizes = select(LogRow.id, func.length(LogRow.text)).where(LogRow.job_id == job_id).order_by(LogRow.id.desc())
        with self._session() as session:
            for number, size in session.execute(sizes).all():
                room -= size
                if room < 0:
                    session.execute(delete(LogRow).where(LogRow.job_id == job_id, LogRow.id <= number))
                    break
            session.add(LogRow(job_id=job_id, text=text[-LOG_CHARS:]))

    def read(self, job_id: str) -> str:
        """Output of a job's processes over all attempts, without what was deleted."""
        query = select(LogRow.text).where(LogRow.job_id == job_id).order_by(LogRow.id)
        with self._session() as session:
            return "".join(session.scalars(query))

    def read_after(self, job_id: str, after: int) -> LogPart:
        """What was added since ``after``, the ``next`` of the call before; 0 for all."""
        theirs = LogRow.job_id == job_id
        query = select(LogRow.id, LogRow.text).where(theirs, LogRow.id > after).order_by(LogRow.id)
        with self._session() as session:
            oldest = session.scalar(select(func.min(LogRow.id)).where(theirs))
            rows = session.execute(query).all()
        complete = not after or oldest is None or oldest <= after
        return LogPart("".join(text for _, text in rows), rows[-1][0] if rows else after, complete)
