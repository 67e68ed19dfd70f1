"""Whether a worker gets on: its own loop turns, the ledger hears it, and no lease of its jobs has run out."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from celery.signals import worker_ready

from modelyard.services.ledger import Ledger

TURN_S = 5.0
SLOW_S = 30.0
"""A loop that has not turned for so long hangs, or waits for a broker that is away."""


class Pulse:
    """When Celery's loop last turned."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._turned: float | None = None

    def turn(self) -> None:
        self._turned = self._clock()

    @property
    def turns(self) -> bool:
        return self._turned is not None and self._clock() - self._turned < SLOW_S

    @contextmanager
    def taken(self) -> Iterator[None]:
        """A timer in the loop of the worker that starts in this block; it outlives lost connections."""

        def ready(sender: Any, **_: Any) -> None:
            if self._turned is None:
                self.turn()
                sender.timer.call_repeatedly(TURN_S, self.turn)

        worker_ready.connect(ready, weak=False)
        try:
            yield
        finally:
            worker_ready.disconnect(ready)


def gets_on(pulse: Pulse, ledger: Ledger, worker: str) -> bool:
    """Celery's loop turns, and nothing that this worker runs has lost its lease; raises ``StorageFailed``."""
    return pulse.turns and not any(job.worker == worker for job in ledger.jobs.lost())
