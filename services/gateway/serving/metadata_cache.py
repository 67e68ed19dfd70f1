"""Metadata of models from the model server: fresh for a second, used for longer while it does not respond.

Runs on the event loop's thread: no locks.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from modelyard.models.tfserving.messages import ServingFailed
from modelyard.services.gateway.serving.circuit_breaker import NO_RESPONSE

FRESH_S = 1.0
STALE_S = 30.0
"""How long a value is used while there is no new one: calls fail by themselves where a version is gone."""
REFRESH_WAIT_S = 0.1
"""How long a client waits for a new value while there is an old one."""

Value = TypeVar("Value")


@dataclass(frozen=True)
class CachedValue(Generic[Value]):
    """A value, and when it came."""

    at: float
    value: Value

    def is_younger_than(self, seconds: float) -> bool:
        return time.monotonic() - self.at <= seconds


@dataclass(frozen=True)
class MetadataRequest(Generic[Value]):
    """A request in flight, which all that wait for its key share."""

    sent_at: float
    task: "asyncio.Task[Value]"

    async def wait_briefly(self) -> bool:
        """Waits up to ``REFRESH_WAIT_S``; whether the response has arrived."""
        timeout_s = self.sent_at + REFRESH_WAIT_S - time.monotonic()
        if not self.task.done() and timeout_s > 0:
            await asyncio.wait((self.task,), timeout=timeout_s)
        return self.task.done()


class MetadataCache(Generic[Value]):
    """Values by key. Failures are not stored: the keys come from clients."""

    def __init__(self) -> None:
        self._values: dict[Hashable, CachedValue[Value]] = {}
        self._requests: dict[Hashable, MetadataRequest[Value]] = {}

    def get_fresh(self, key: Hashable) -> Value | None:
        """The cached value, if it is fresh; nothing is sent."""
        cached = self._values.get(key)
        return cached.value if cached is not None and cached.is_younger_than(FRESH_S) else None

    async def get(self, key: Hashable, fetch: Callable[[], Awaitable[Value]]) -> Value:
        """A fresh cached value, what ``fetch`` returns now, or the last value if the server does not respond.

        Raises:
            ServingFailed: with the server's code; if it does not respond, only where there is no value.
        """
        if (fresh := self.get_fresh(key)) is not None:
            return fresh
        cached = self._values.get(key)
        request = self._requests.get(key) or self._send(key, fetch)
        if cached is None or not cached.is_younger_than(STALE_S):
            return await asyncio.shield(request.task)
        if not await request.wait_briefly():
            return cached.value
        try:
            return request.task.result()
        except ServingFailed as failure:
            if failure.code in NO_RESPONSE:
                return cached.value
            raise

    def _send(self, key: Hashable, fetch: Callable[[], Awaitable[Value]]) -> MetadataRequest[Value]:
        async def run() -> Value:
            return await fetch()

        task = asyncio.get_running_loop().create_task(run())
        task.add_done_callback(lambda done: self._store(key, done))
        self._requests[key] = request = MetadataRequest(time.monotonic(), task)
        return request

    def _store(self, key: Hashable, task: "asyncio.Task[Value]") -> None:
        del self._requests[key]
        if task.cancelled() or task.exception() is not None:
            return
        self._values = {old: cached for old, cached in self._values.items() if cached.is_younger_than(STALE_S)}
        self._values[key] = CachedValue(time.monotonic(), task.result())
