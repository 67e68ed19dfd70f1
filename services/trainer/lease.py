"""A worker's hold on a job while it trains: renewed, watched, and ended when the job's time is used up."""

import threading
import time
from collections.abc import Callable
from typing import Self

import structlog

from modelyard.models.errors import StorageFailed
from modelyard.services.ledger import Job, Ledger
from modelyard.services.trainer.patience import patiently

log = structlog.get_logger()

RENEWALS = 6
"""Within the time that it holds: some may fail."""
LOOK_S = 1.0
"""Between two looks at whether the job was cancelled, or its time is used up."""


class Lease:
    """Looks after a job in a thread of its own: training may be silent for minutes and is still alive. A context."""

    def __init__(self, ledger: Ledger, job: Job, lease_s: float, stop: Callable[[], None]) -> None:
        """``stop`` is called once if the attempt is to end: cancelled, taken over by another worker, or out of time."""
        self._ledger, self._job, self._lease_s, self._stop = ledger, job, lease_s, stop
        self._ends_at = time.monotonic() + job.budget_s - job.spent_s if job.budget_s is not None else None
        self._deciding = threading.Lock()
        self._publishing = False
        self._timed_out = False
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._look_after, name="lease", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._thread.join()

    @property
    def timed_out(self) -> bool:
        """Whether the job's budget was used up before it could publish."""
        return self._timed_out

    @property
    def publishing(self) -> bool:
        """Whether the ledger said yes. If the attempt is lost now, its version may be in the store already."""
        return self._publishing

    def may_publish(self) -> bool:
        """Asks the ledger; once it says yes, neither cancelling nor the budget ends the job."""
        with self._deciding:
            self._publishing = not self._timed_out and patiently(self._ledger.publishing, self._job)
            return self._publishing

    def _look_after(self) -> None:
        renewed_at = time.monotonic()
        while not self._left.wait(LOOK_S):
            try:
                if self._is_over() or not self._ledger.holds(self._job):
                    self._stop()
                    return
                if time.monotonic() - renewed_at >= self._lease_s / RENEWALS:
                    self._ledger.renew(self._job, self._lease_s)
                    renewed_at = time.monotonic()
            except StorageFailed as error:
                log.warning("lease not looked after", job=self._job.id, cause=str(error))

    def _is_over(self) -> bool:
        with self._deciding:
            over = self._ends_at is not None and time.monotonic() > self._ends_at
            self._timed_out = over and not self._publishing
            return self._timed_out
