"""Circuit breaker: stops calls of a model whose server does not respond, and tries again once a second.

Pattern: Nygard, Release It!, 2nd edition, "Circuit Breaker". Per model, not global: one bad model must not take others
with it. Runs on the event loop's thread: no locks.
"""

import time
from collections import deque
from collections.abc import Callable

import grpc

NO_RESPONSE = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})
"""What counts as a failure: no response."""
MAX_CONSECUTIVE = 5
"""Failures in a row that open it."""
WINDOW_S = 10.0
MIN_CALLS = 20
"""Calls in the window below which their share of failures means nothing."""
MAX_FAILURE_SHARE = 0.5
PROBE_EVERY_S = 1.0


class CircuitBreaker:
    """Closed: every call is allowed. Open: one call a second is, and its success closes it.

    It is half open while its server is known to be there, as ``reached`` says: a call would be tried.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._recent: deque[tuple[float, bool]] = deque()
        self._failures = 0
        self._consecutive = 0
        self._impatient = 0
        self._probe_at: float | None = None
        self._reached = False

    @property
    def is_closed(self) -> bool:
        return self._probe_at is None

    @property
    def is_open(self) -> bool:
        """Neither closed nor half open."""
        return not self.is_closed and not self._reached

    def allows(self) -> bool:
        """Whether a call is allowed now; while open, the allowed call is the probe."""
        if self._probe_at is None:
            return True
        if self._clock() < self._probe_at:
            return False
        self._probe_at = self._clock() + PROBE_EVERY_S
        return True

    def record(self, *, responded: bool) -> None:
        """How a call ended. Any response counts as one, an error about bad input too."""
        if responded and self._probe_at is not None:
            self.__init__(self._clock)  # type: ignore[misc]  # closed again: as new
        self._reached = False
        self._impatient = 0 if responded else self._impatient
        self._add(responded)
        self._consecutive = 0 if responded else self._consecutive + 1
        share = self._failures / len(self._recent)
        if self._consecutive >= MAX_CONSECUTIVE or (len(self._recent) >= MIN_CALLS and share > MAX_FAILURE_SHARE):
            self.open()

    def record_impatient(self) -> bool:
        """A call that its client's own deadline ended; whether so many did in a row that the server has to be asked."""
        self._impatient += 1
        return self._impatient >= MAX_CONSECUTIVE

    def reached(self) -> None:
        """The server answered a question about the model."""
        self._impatient = 0
        self._reached = True

    def open(self) -> None:
        self._reached = False
        self._probe_at = self._probe_at or self._clock() + PROBE_EVERY_S

    def _add(self, responded: bool) -> None:
        now = self._clock()
        self._recent.append((now, responded))
        self._failures += not responded
        while self._recent[0][0] < now - WINDOW_S:
            self._failures -= not self._recent.popleft()[1]
