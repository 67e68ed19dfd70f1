"""A worker's lease of a job while it trains: renewed, watched, and ended when the job's time is used up."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Self

import structlog
from tenacity import Retrying, before_sleep_log, retry_if_exception_type, stop_after_delay, wait_random_exponential

from modelyard.models.errors import StorageFailed
from modelyard.services.ledger import Job, Ledger, State

log = structlog.get_logger()

RENEWALS = 6
"""Within the time that a lease holds: some may fail."""
POLL_INTERVAL_S = 1.0
"""Between two checks of whether the job was cancelled, or its time is used up."""
MAX_RETRY_S = 60.0
"""As long as a lease is by default: afterwards the job is another worker's anyway."""

call_ledger = Retrying(
    retry=retry_if_exception_type(StorageFailed),
    stop=stop_after_delay(MAX_RETRY_S),
    wait=wait_random_exponential(multiplier=0.2, max=5),
    before_sleep=before_sleep_log(logging.getLogger(__name__), logging.WARNING),
    reraise=True,
)
"""Calls a method of the ledger, and retries while its database may be restarting; then raises ``StorageFailed``."""


class Lease:
    """Renews a job's lease in a thread of its own: training may report nothing for minutes. A context manager."""

    def __init__(self, ledger: Ledger, job: Job, lease_s: float, stop: Callable[[], None]) -> None:
        """``stop`` is called once if the attempt must end: cancelled, taken over by another worker, or out of time."""
        self._ledger, self._job, self._lease_s, self._stop = ledger, job, lease_s, stop
        self._ends_at = time.monotonic() + job.budget_s - job.spent_s if job.budget_s is not None else None
        self._lock = threading.Lock()
        self._publishing = job.state is State.PUBLISHING
        self._timed_out = False
        self._exited = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="lease", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._exited.set()
        self._thread.join()

    @property
    def timed_out(self) -> bool:
        """Whether the job's budget was used up before it could publish."""
        return self._timed_out

    @property
    def publishing(self) -> bool:
        """Whether the ledger allowed it. If the attempt is lost now, its version may be in the store already."""
        return self._publishing

    def may_publish(self) -> bool:
        """Asks the ledger for permission; once given, neither cancelling nor the budget ends the job.

        It is asked again before the promotion: a worker that stood still meanwhile does not hold the job any more.
        """
        with self._lock:
            self._publishing = not self._timed_out and call_ledger(self._ledger.jobs.begin_publishing, self._job)
            return self._publishing

    def _watch(self) -> None:
        renewed_at = time.monotonic()
        while not self._exited.wait(POLL_INTERVAL_S):
            try:
                if self._check_budget() or not self._ledger.jobs.is_held(self._job):
                    self._stop()
                    return
                if time.monotonic() - renewed_at >= self._lease_s / RENEWALS:
                    self._ledger.jobs.renew(self._job, self._lease_s)
                    renewed_at = time.monotonic()
            except StorageFailed as error:
                log.warning("lease check failed", job=self._job.id, cause=str(error))

    def _check_budget(self) -> bool:
        with self._lock:
            over = self._ends_at is not None and time.monotonic() > self._ends_at
            self._timed_out = over and not self._publishing
            return self._timed_out
