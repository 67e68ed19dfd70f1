"""Admission control: decided from the request line alone, before a byte of the body is read.

A request is shed when so many of its model's are in flight that it would wait for more than a quarter of its deadline.
Bulk is shed at half of that. Once a model's places were all taken, fewer are given for a while whenever the event loop
is behind: refusals and answers are quick then. A slow loop alone sheds nothing, for as many clients as there are places
may all come back at once, and a busy machine makes any loop slow. Runs on the event loop's thread: no locks.
"""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

WAIT_SHARE = 0.25
"""Largest part of the deadline that may be spent waiting for others."""
BULK_SHARE = 0.5
MIN_IN_FLIGHT = 128
"""Requests of one model that fill both calls in flight: fewer are never shed because the loop is slow."""
MEMORY_S = 1.0
"""Time after which responses count for 1/e in the throughput: one stall, or the gap between two batches, is little."""
RESPONSES_BEFORE = 64.0
"""As many are supposed to have come at once before a model's first, whose time is no measure of the rest."""
MAX_ITERATION_S = 0.02
"""Beyond this the loop lags; measured: at capacity an iteration takes up to 15 ms, at three times the load 30 to 50."""
ITERATION_EXPIRES_S = 0.1
"""Age after which a measured iteration is ignored."""
OVERLOAD_EXPIRES_S = 5.0
"""After all places of a model were taken, a loop that is behind sheds for so long."""


@dataclass(eq=False)
class Load:
    """The load of one model."""

    in_flight: int = 0
    responses: float = RESPONSES_BEFORE
    """Responses that came, and the time in which there was work for them; both fade."""
    busy_s: float = 0.0
    last: float = 0.0
    clients: dict[str, int] = field(default_factory=dict)
    """Requests in flight of those clients that are counted."""

    def note_response(self, now: float) -> None:
        passed_s = now - self.last
        kept = math.exp(-passed_s / MEMORY_S)
        self.responses = self.responses * kept + 1
        self.busy_s = self.busy_s * kept + passed_s
        self.last = now

    def expected_wait_s(self) -> float:
        """Until all that are in flight have a response, at the throughput of late."""
        return self.in_flight * self.busy_s / self.responses


class Admission:
    """Counts requests in flight, by model, and of each model by client."""

    def __init__(
        self, max_in_flight: int, clock: Callable[[], float] = time.monotonic, *, client_share: float = 1.0
    ) -> None:
        """``client_share``: the largest share of a model's places for one client."""
        self._max_in_flight = max_in_flight
        self.max_per_client = max(1, int(client_share * max_in_flight))
        self._clock = clock
        self._loads: dict[str, Load] = {}
        self._overloaded_until = -math.inf

    def __len__(self) -> int:
        """Models that have something in flight."""
        return len(self._loads)

    def is_full(self, model: str, *, behind: bool = False) -> bool:
        """Whether the limit of requests in flight is reached.

        It is lower while the loop is ``behind``, if it was reached a moment ago.
        """
        load = self._loads.get(model)
        if load is None:
            return False
        if load.in_flight >= self._max_in_flight:
            self._overloaded_until = self._clock() + OVERLOAD_EXPIRES_S
            return True
        return behind and load.in_flight >= MIN_IN_FLIGHT and self._clock() < self._overloaded_until

    def is_full_for(self, model: str, client: str) -> bool:
        """Whether this client has all the places that one may have."""
        load = self._loads.get(model)
        return load is not None and load.clients.get(client, 0) >= self.max_per_client

    def retry_after_s(self, model: str, deadline_s: float, *, bulk: bool) -> float | None:
        """None if there is room for a request, else after how many seconds to try again."""
        load = self._loads.get(model)
        if load is None:
            return None
        share, wait_s = BULK_SHARE if bulk else 1.0, load.expected_wait_s()
        full = load.in_flight >= share * self._max_in_flight
        late = load.in_flight > 1 and wait_s > share * WAIT_SHARE * deadline_s
        return wait_s if full or late else None

    def start(self, model: str, client: str = "") -> None:
        """A request has arrived whole, and is in flight until it is ``finished``: one that stalls takes no room."""
        load = self._loads.setdefault(model, Load())
        if load.in_flight == 0:
            load.last = self._clock()
        load.in_flight += 1
        if client:
            load.clients[client] = load.clients.get(client, 0) + 1

    def finish(self, model: str, client: str = "") -> None:
        """A request that was started has its response."""
        load = self._loads[model]
        load.note_response(self._clock())
        load.in_flight -= 1
        if client:
            load.clients[client] -= 1
        if load.in_flight == 0:
            del self._loads[model]  # names come from clients: nothing of them stays


class LoopLag:
    """Duration of an iteration of the event loop: when many requests arrive at once, each waits for all before it.

    It is measured from a request's arrival to the beginning of the next iteration, once per iteration, and only while
    requests arrive: an idle gateway does nothing.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._iteration_s = 0.0
        self._ended_at = 0.0
        self._measuring = False

    def is_behind(self) -> bool:
        """Whether the last iteration took too long; to be called for each request."""
        now = self._clock()
        if not self._measuring:
            self._measuring = True
            asyncio.get_running_loop().call_soon(self._end_iteration, now)
        return self._iteration_s > MAX_ITERATION_S and now - self._ended_at < ITERATION_EXPIRES_S

    def _end_iteration(self, began: float) -> None:
        self._measuring = False
        self._ended_at = self._clock()
        self._iteration_s = self._ended_at - began
