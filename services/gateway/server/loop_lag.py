"""How long the event loop takes for one turn: when many requests arrive at once, each waits for all before it.

A turn is measured from a request's arrival to the beginning of the next turn, once per turn, and only while requests
arrive: an idle gateway does nothing. Runs on the event loop's thread: no locks.
"""

import asyncio
import time
from collections.abc import Callable

LONGEST_TURN_S = 0.02
"""Beyond this the loop is behind; measured: at capacity a turn takes up to 15 ms, at three times the load 30 to 50."""
FORGOTTEN_S = 0.1
"""A turn as long ago says nothing of the present one."""


class Pace:
    """Of one event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._turn_s = 0.0
        self._ended_at = 0.0
        self._measuring = False

    def is_behind(self) -> bool:
        """Whether the last turn took too long; to be asked for each request."""
        now = self._clock()
        if not self._measuring:
            self._measuring = True
            asyncio.get_running_loop().call_soon(self._turned, now)
        return self._turn_s > LONGEST_TURN_S and now - self._ended_at < FORGOTTEN_S

    def _turned(self, began: float) -> None:
        self._measuring = False
        self._ended_at = self._clock()
        self._turn_s = self._ended_at - began
