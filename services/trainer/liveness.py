"""Liveness of a worker: Celery's loop runs, the ledger can be reached, and no lease of its jobs has expired."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from celery.signals import worker_ready

from modelyard.services.ledger import Ledger

TICK_INTERVAL_S = 5.0
MAX_TICK_AGE_S = 30.0
"""A loop without a tick for longer hangs, or waits for a broker that is away."""


class LoopLiveness:
    """Time of the last tick of Celery's loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ticked_at: float | None = None

    def tick(self) -> None:
        self._ticked_at = self._clock()

    @property
    def is_alive(self) -> bool:
        return self._ticked_at is not None and self._clock() - self._ticked_at < MAX_TICK_AGE_S

    @contextmanager
    def watch_loop(self) -> Iterator[None]:
        """Ticks in the loop of the worker that starts in this block; the timer survives lost connections."""

        def ready(sender: Any, **_: Any) -> None:
            if self._ticked_at is None:
                self.tick()
                sender.timer.call_repeatedly(TICK_INTERVAL_S, self.tick)

        worker_ready.connect(ready, weak=False)
        try:
            yield
        finally:
            worker_ready.disconnect(ready)


def is_worker_alive(loop: LoopLiveness, ledger: Ledger, worker: str) -> bool:
    """Whether Celery's loop runs and no job of this worker has lost its lease; raises ``StorageFailed``."""
    return loop.is_alive and not any(job.worker == worker for job in ledger.jobs.list_lost())
