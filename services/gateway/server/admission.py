"""Who is let in: decided from the request line alone, before a byte of the body is read.

A request is turned away when so many of its model's are under way that it would wait for more than a quarter of its
deadline. Bulk is turned away at half of that. Runs on the event loop's thread: no locks.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

WAIT_SHARE = 0.25
"""Largest part of the deadline that may be spent waiting for others."""
BULK_SHARE = 0.5
ENOUGH = 128
"""Requests of one model that fill both calls in flight: fewer are never turned away because the loop is slow."""
SMOOTHING = 0.05
"""Weight of the newest interval between two answers."""


@dataclass(eq=False)
class Load:
    """What one model has to do."""

    in_flight: int = 0
    interval_s: float = 0.0
    """Smoothed time from one answer to the next while there was work: the inverse of the throughput."""
    last: float = 0.0

    def expected_wait_s(self) -> float:
        return self.in_flight * self.interval_s


class Admission:
    """Counts what is under way, by model."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._loads: dict[str, Load] = {}

    def __len__(self) -> int:
        """Models that have something under way."""
        return len(self._loads)

    def is_full(self, model: str, *, behind: bool = False) -> bool:
        """Whether there is no room for anything at all. A loop that is ``behind`` gets no more than it needs."""
        load = self._loads.get(model)
        return load is not None and load.in_flight >= (min(ENOUGH, self._most) if behind else self._most)

    def wait_s(self, model: str, deadline_s: float, *, bulk: bool) -> float | None:
        """None if there is room for a request, else after how many seconds to try again."""
        load = self._loads.get(model)
        if load is None:
            return None
        share, wait_s = BULK_SHARE if bulk else 1.0, load.expected_wait_s()
        full = load.in_flight >= share * self._most
        late = load.in_flight > 1 and wait_s > share * WAIT_SHARE * deadline_s
        return wait_s if full or late else None

    def enter(self, model: str) -> None:
        """A request has arrived whole, and is worked on until it ``leaves``: one that stalls takes nobody's place."""
        load = self._loads.setdefault(model, Load())
        if load.in_flight == 0:
            load.last = self._clock()
        load.in_flight += 1

    def leave(self, model: str) -> None:
        """A request that entered has its answer."""
        load, now = self._loads[model], self._clock()
        load.interval_s += SMOOTHING * (now - load.last - load.interval_s)
        load.last = now
        load.in_flight -= 1
        if load.in_flight == 0:
            del self._loads[model]  # names come from callers: nothing of them stays
