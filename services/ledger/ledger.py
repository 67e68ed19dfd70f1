"""The ledger: every record that outlives a process, in one database."""

import threading
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from modelyard.services.ledger.audit import Audit
    from modelyard.services.ledger.feedback import Feedback
    from modelyard.services.ledger.jobs import Jobs
    from modelyard.services.ledger.keys import Keys
    from modelyard.services.ledger.labels import Labels
    from modelyard.services.ledger.logs import Logs
    from modelyard.services.ledger.notifications import Notifications
    from modelyard.services.ledger.observations import Observations
    from modelyard.services.ledger.searches import Searches
    from modelyard.services.ledger.sql.database import Database
    from modelyard.services.ledger.sql.job_counts import JobCounts
    from modelyard.services.ledger.triggers import Triggers
    from modelyard.services.ledger.workers import Workers


class Ledger:
    """One per process. It loads SQLAlchemy, and connects, at the first use: a gateway that only predicts needs neither.

    Safe for many threads; not to be taken across a fork.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._opened: Database | None = None

    @property
    def jobs(self) -> "Jobs":
        """Training jobs and their events."""
        from modelyard.services.ledger.jobs import Jobs

        return Jobs(self._database)

    @property
    def job_counts(self) -> "JobCounts":
        """Sums over all jobs."""
        from modelyard.services.ledger.sql.job_counts import JobCounts

        return JobCounts(self._database)

    @property
    def workers(self) -> "Workers":
        """Workers that have registered lately."""
        from modelyard.services.ledger.workers import Workers

        return Workers(self._database)

    @property
    def logs(self) -> "Logs":
        """Output of jobs' processes."""
        from modelyard.services.ledger.logs import Logs

        return Logs(self._database)

    @property
    def keys(self) -> "Keys":
        """API keys."""
        from modelyard.services.ledger.keys import Keys

        return Keys(self._database)

    @property
    def feedback(self) -> "Feedback":
        """Captured predictions, and feedback on them."""
        from modelyard.services.ledger.feedback import Feedback

        return Feedback(self._database)

    @property
    def labels(self) -> "Labels":
        """Captured predictions to be labelled."""
        from modelyard.services.ledger.labels import Labels

        return Labels(self._database)

    @property
    def observations(self) -> "Observations":
        """Counts of canaries and shadows, and drift."""
        from modelyard.services.ledger.observations import Observations

        return Observations(self._database)

    @property
    def triggers(self) -> "Triggers":
        """Conditions that start jobs."""
        from modelyard.services.ledger.triggers import Triggers

        return Triggers(self._database)

    @property
    def searches(self) -> "Searches":
        """Searches for good recipes."""
        from modelyard.services.ledger.searches import Searches

        return Searches(self._database)

    @property
    def notifications(self) -> "Notifications":
        """Events that somebody is told of."""
        from modelyard.services.ledger.notifications import Notifications

        return Notifications(self._database)

    @property
    def audit(self) -> "Audit":
        """The audit trail."""
        from modelyard.services.ledger.audit import Audit

        return Audit(self._database)

    def exists(self) -> bool:
        """False for a file of SQLite that is not there yet: nothing was ever written."""
        scheme, _, path = self._url.partition(":///")
        return scheme != "sqlite" or Path(unquote(path)).exists()

    def prepare(self) -> None:
        """Checks that the tables are there, as the first call would; raises ``StorageFailed``."""
        self._database.prepare()

    def migrate(self, passwords: Mapping[str, str] = MappingProxyType({})) -> None:
        """Creates or migrates the tables; raises ``StorageFailed``.

        Args:
            passwords: of PostgreSQL's roles for the processes, by role; those named are made, or changed.
        """
        self._database.migrate()
        self._database.make_roles(passwords)

    def end_stopped_writer(self) -> None:
        """Kills the process that keeps all others from writing, if it stands still; to be called every few seconds."""
        self._database.end_stopped_writer()

    def close(self) -> None:
        """Closes its connections, if it was ever used."""
        with self._lock:
            if self._opened:
                self._opened.close()

    @property
    def _database(self) -> "Database":
        with self._lock:
            if self._opened is None:
                from modelyard.services.ledger.sql.database import Database

                self._opened = Database(self._url)
            return self._opened
