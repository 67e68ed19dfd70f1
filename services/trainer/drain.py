"""A worker that was told to stop lets its jobs end, for a while."""

import time
from typing import Any

from celery import Celery

from modelyard.models.errors import StorageFailed
from modelyard.services.ledger import Ledger

LOOK_S = 0.5


def draining(app: Celery, ledger: Ledger, name: str, drain_s: float) -> type[Any]:
    """Celery's worker, which goes on to stop as soon as the ledger says that it runs no job; its own sleeps it out."""

    class DrainingWorker(app.Worker):  # type: ignore[misc]  # made by Celery for this application
        def wait_for_soft_shutdown(self) -> None:
            """Called in the main thread, in the handler of the signal: meanwhile no other job is started."""
            deadline = time.monotonic() + drain_s
            while time.monotonic() < deadline and runs(ledger, name):
                time.sleep(LOOK_S)

    return DrainingWorker


def runs(ledger: Ledger, name: str) -> bool:
    """Whether a worker runs a job; taken for granted while the ledger cannot be asked."""
    try:
        return bool(ledger.jobs.held_by(name))
    except StorageFailed:
        return True
