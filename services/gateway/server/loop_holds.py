"""How long the event loop was held: for so long no other request is read, predicted or answered."""

import asyncio
import os
import time
from collections.abc import Callable

BEAT_S = 0.01
"""Time between two beats, which a hold is found longer by at most."""
MIN_HOLD_S = 2 * BEAT_S
"""Shorter ones are not counted."""
WINDOW_S = 60.0
"""The longest hold is that of this window and of the one before."""


class LoopHolds:
    """Beats on the event loop while something is in flight: whatever holds the loop delays the next beat.

    A measured hold is the time between two beats, so never shorter than the true one, but for the time that the thread
    waited for a processor: what else the machine does is not the requests' doing. An idle gateway does not beat.
    """

    def __init__(
        self,
        observe: Callable[[float], None],
        clock: Callable[[], float] = time.monotonic,
        waited_s: Callable[[], float] | None = None,
    ) -> None:
        """Reads clocks.

        Args:
            observe: gets the duration of each hold of ``MIN_HOLD_S`` or more, in s.
            clock: in s.
            waited_s: how long this thread has waited for a processor in all; the kernel's count unless given.
        """
        self._observe = observe
        self._clock = clock
        self._waited_s = waited_s or ProcessorWait()
        self._beating = False
        self._in_flight = 0
        self._last = 0.0
        self._window_ends = 0.0
        self._longest = (0.0, 0.0)

    def start(self) -> None:
        """Something is in flight until it is ``finished``."""
        self._in_flight += 1
        if not self._beating:
            self._beating = True
            self._last = self._clock() - self._waited_s()
            asyncio.get_running_loop().call_later(BEAT_S, self._beat)

    def finish(self) -> None:
        self._in_flight -= 1

    def longest_s(self) -> float:
        """The longest hold of the last one to two windows."""
        self._turn_window(self._clock())
        return max(self._longest)

    def _beat(self) -> None:
        now = self._clock()
        active = now - self._waited_s()
        held_s, self._last = active - self._last, active
        self._turn_window(now)
        self._longest = (self._longest[0], max(self._longest[1], held_s))
        if held_s >= MIN_HOLD_S:
            self._observe(held_s)
        self._beating = self._in_flight > 0
        if self._beating:
            asyncio.get_running_loop().call_later(BEAT_S, self._beat)

    def _turn_window(self, now: float) -> None:
        if now >= self._window_ends:
            late = now >= self._window_ends + WINDOW_S
            self._longest = (0.0 if late else self._longest[1], 0.0)
            self._window_ends = now + WINDOW_S


class ProcessorWait:
    """How long the calling thread, always the same one, has waited for a processor, in s.

    The second number of ``/proc/PID/task/TID/schedstat`` (sched-stats.rst of the kernel); 0 where there is none.
    """

    def __init__(self) -> None:
        self._file: int | None = None

    def __call__(self) -> float:
        try:
            if self._file is None:
                self._file = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
            return int(os.pread(self._file, 128, 0).split()[1]) / 1e9
        except (OSError, IndexError):
            return 0.0
