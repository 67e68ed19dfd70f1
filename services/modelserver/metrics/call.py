"""What one call learns on its way through the server: it is counted at once, when the call is over."""

from collections.abc import Sequence
from contextvars import ContextVar
from time import perf_counter


class MeasuredCall:
    """One call. Other threads write to it only while its own waits for them.

    Most calls differ from the class in three values; a dataclass would set them all, in each of them.
    """

    ran_s: float | None = None
    """How long its run took, waiting for a batch included; None if it failed, or there was none."""
    rows: int = 0
    """Of its first input."""
    pool: str = ""
    """Name of the threads that ran its batch; empty if it was in none."""
    queued: float = 0.0
    waited_s: float | None = None
    """In the queue of its batch."""
    runs: Sequence[tuple[int, int]] = ()
    """Rows, and rows of these that pad, of runs that it had alone, or stands for among those that shared them."""

    def __init__(self) -> None:
        self.began = perf_counter()

    def enter_queue(self, pool: str) -> None:
        self.pool, self.queued = pool, perf_counter()

    def leave_queue(self, at: float) -> None:
        """``at``: by ``perf_counter()``."""
        self.waited_s = at - self.queued

    def add_run(self, rows: int, padding: int) -> None:
        self.runs = (*self.runs, (rows, padding))


CURRENT_CALL: ContextVar[MeasuredCall | None] = ContextVar("current_call", default=None)
"""Of this thread; None where nothing is measured."""
