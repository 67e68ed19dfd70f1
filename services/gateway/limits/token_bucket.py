"""Token buckets, one per client: each request takes a token, and tokens come back at a steady rate.

Runs on any thread: single operations on dicts are atomic, and a token lost to a race does no harm.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from modelyard.services.gateway.http.headers import HeaderList

MAX_CLIENTS = 10_000
"""Addresses come from clients: with more of them, buckets that are full again are forgotten."""


@dataclass(frozen=True)
class Rate:
    """How many tokens a bucket holds, and how many come back each second."""

    per_s: float
    burst: float

    @classmethod
    def of(cls, count: float, per_s: float) -> "Rate":
        """So many in so many seconds; at most one second's or one period's at once, whichever is longer."""
        return cls(count / per_s, max(1.0, count))


@dataclass(frozen=True)
class Decision:
    """What a bucket says to one request."""

    rate: Rate
    tokens: float
    """What is left, after this request if it is allowed."""
    allowed: bool

    @property
    def retry_after_s(self) -> int:
        """Whole seconds until there is a token again."""
        return 0 if self.tokens >= 1 else max(1, math.ceil((1 - self.tokens) / self.rate.per_s))

    def headers(self) -> HeaderList:
        """``RateLimit-*`` in both forms of draft-ietf-httpapi-ratelimit-headers: of version 7, and of 10."""
        limit, left = int(self.rate.burst), max(0, int(self.tokens))
        reset_s = max(0, math.ceil((self.rate.burst - self.tokens) / self.rate.per_s))
        window_s = math.ceil(self.rate.burst / self.rate.per_s)
        found = [
            ("ratelimit-limit", str(limit)),
            ("ratelimit-remaining", str(left)),
            ("ratelimit-reset", str(reset_s)),
            ("ratelimit-policy", f'"default";q={limit};w={window_s}'),
            ("ratelimit", f'"default";r={left};t={reset_s}'),
        ]
        return found if self.allowed else [*found, ("retry-after", str(self.retry_after_s))]


class TokenBuckets:
    """The buckets of all clients, with one rate."""

    def __init__(self, rate: Rate, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate = rate
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}
        """By client, how many tokens there were, and when."""
        self._taken: dict[str, float] = {}
        """By client, what was taken since it was last told to the other gateways."""

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, client: str) -> Decision:
        """One token, if there is one."""
        tokens = self._level(client)
        allowed = tokens >= 1
        if allowed:
            tokens -= 1
            self._taken[client] = self._taken.get(client, 0.0) + 1
        self._buckets[client] = (tokens, self._clock())
        if len(self._buckets) > MAX_CLIENTS:
            self._forget_full()
        return Decision(self.rate, tokens, allowed)

    def charge(self, client: str, tokens: float) -> None:
        """Takes tokens that are not there, too: the client waits until they have come back."""
        self._buckets[client] = (self._level(client) - tokens, self._clock())
        self._taken[client] = self._taken.get(client, 0.0) + tokens

    def pop_taken(self) -> dict[str, float]:
        """What each client has taken since the last call."""
        taken, self._taken = self._taken, {}
        return taken

    def set_level(self, client: str, tokens: float) -> None:
        """What all gateways together have left, less what was taken here since they were asked."""
        self._buckets[client] = (tokens - self._taken.get(client, 0.0), self._clock())

    def _level(self, client: str) -> float:
        tokens, at = self._buckets.get(client, (self.rate.burst, 0.0))
        return min(self.rate.burst, tokens + (self._clock() - at) * self.rate.per_s)

    def _forget_full(self) -> None:
        """Forgets full buckets; if there are too many others, the oldest half of them."""
        left = {client: held for client, held in self._buckets.items() if self._level(client) < self.rate.burst}
        if len(left) > MAX_CLIENTS // 2:
            newest = sorted(left, key=lambda client: left[client][1])[-MAX_CLIENTS // 2 :]
            left = {client: left[client] for client in newest}
        self._buckets = left
