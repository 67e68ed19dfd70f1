"""The model server's replicas: which of them gets a call, and what happens when one does not respond.

Everything here runs on the event loop's thread: no locks. How a replica is called is its own affair.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import count
from typing import Any, NamedTuple, Protocol

import grpc
import structlog

from modelyard.models.tfserving.messages import ServingFailed
from modelyard.models.types import DEFAULT_POOL, Array
from modelyard.services.gateway.http.deadline import Deadline
from modelyard.services.gateway.metrics import Metrics
from modelyard.services.gateway.serving.batching.calls import Target
from modelyard.services.gateway.serving.servers.traced_call import call_traced
from modelyard.services.tracing.spans import CURRENT_SPAN

log = structlog.get_logger()

PREDICT = "/tensorflow.serving.PredictionService/Predict"
CLASSIFY = "/tensorflow.serving.PredictionService/Classify"
REGRESS = "/tensorflow.serving.PredictionService/Regress"
METADATA = "/tensorflow.serving.PredictionService/GetModelMetadata"
STATUS = "/tensorflow.serving.ModelService/GetModelStatus"

RETURN_MARGIN_S = 0.02
"""Reserved in every call, for the way back to the client."""
RETRY_WAIT_S = (0.02, 0.1)
MIN_RETRY_SHARE = 0.5
"""Share of the deadline that must be left for a second attempt."""
MAX_RETRY_SHARE = 0.1
RETRY_WINDOW_S = 10.0
MIN_RETRIES = 3
"""Retries in the window that are allowed whatever their share."""
AVOID_S = 1.0
"""How long a replica that could not be reached is called only if no other is left."""
SERVER_ERROR = 500


class PredictCall(NamedTuple):
    """The request of ``PREDICT``, answered by an ``Outputs``; the others are TensorFlow Serving's messages."""

    target: Target
    inputs: Mapping[str, Array]


class Replica(Protocol):
    """One model server."""

    address: str
    in_flight: int
    """Calls in progress."""
    avoid_until: float
    """After a call that was UNAVAILABLE, when it is called again like any other; 0 after any other call."""

    async def call(self, method: str, request: Any, timeout_s: float) -> Any:
        """One call; raises ``ServingFailed``, or ``InvalidOutput`` of an answer that cannot be read."""

    def was_reached(self) -> bool:
        """Whether the last call reached it."""

    def is_connected(self) -> bool:
        """Whether a call would be sent at once; if not, it begins to connect."""

    async def close(self, grace_s: float | None = None) -> None:
        """Frees what it holds, once calls in progress have ended or the time for that is over; at once without one."""


class Directory(Protocol):
    """Replicas that come and go."""

    def list_replicas(self) -> Sequence[Replica]:
        """Those of now."""

    async def refresh(self) -> None:
        """Brings them up to date, if it is time to; called before each call."""

    async def close(self) -> None:
        """Closes all."""


class Replicas:
    """All of one pool: those that are always there, and those of a directory."""

    def __init__(
        self,
        replicas: Sequence[Replica],
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
        directory: Directory | None = None,
        pool: str = DEFAULT_POOL,
    ) -> None:
        self.pool = pool
        self._retries = metrics.serving_retries.labels(pool)
        self._fixed = replicas
        self._directory = directory
        self._replicas: Sequence[Replica] = ()
        self._budget = RetryBudget()
        self._metrics = metrics
        self._clock = clock
        self._calls = count()
        self._last_call: dict[str, int] = {}
        """By address: which call was the last of a replica."""
        self._use(replicas)

    async def call(self, method: str, request: Any, deadline: Deadline) -> Any:
        """The response of the least busy replica that can be reached; once more if it was away and there is time.

        To another that is there, always: what did not reach the one that is gone costs the others nothing twice.

        Raises:
            ServingFailed: with the server's code and text.
        """
        self._budget.add_request()
        await self._refresh()
        replica = self._choose()
        try:
            return await self._send(replica, method, request, deadline)
        except ServingFailed as failure:
            late = deadline.remaining_s < MIN_RETRY_SHARE * deadline.total_s
            if failure.code is not grpc.StatusCode.UNAVAILABLE or late:
                raise
            if self._is_avoided(self._choose(replica)) and not self._budget.try_spend():
                raise
        self._retries.inc()
        await asyncio.sleep(random.uniform(*RETRY_WAIT_S))
        return await self._send(self._choose(replica), method, request, deadline)

    async def call_each(self, method: str, request: Any, deadline: Deadline) -> list[Any]:
        """What every replica says, one by one: its response, or its failure."""
        await self._refresh()

        async def ask(replica: Replica) -> Any:
            try:
                return await replica.call(method, request, max(deadline.remaining_s - RETURN_MARGIN_S, 0.001))
            except ServingFailed as failure:
                return failure

        return list(await asyncio.gather(*map(ask, self._replicas)))

    def list_reached(self) -> list[bool]:
        """Of each replica that is known, whether the last call reached it. From any thread."""
        return [replica.was_reached() for replica in self._replicas]

    async def close(self) -> None:
        for replica in self._fixed:
            await replica.close()
        if self._directory:
            await self._directory.close()

    async def _refresh(self) -> None:
        """Raises ``ServingFailed`` if there is none."""
        if self._directory:
            await self._directory.refresh()
            now = [*self._fixed, *self._directory.list_replicas()]
            if now != self._replicas:
                self._use(now)
        if not self._replicas:
            raise ServingFailed(grpc.StatusCode.UNAVAILABLE, "the name of the model servers stands for no address")

    def _use(self, replicas: Sequence[Replica]) -> None:
        """Each has its metrics, which are read when somebody asks for them; one that is gone has none."""
        gone = {replica.address for replica in self._replicas} - {replica.address for replica in replicas}
        for address in gone:
            self._metrics.replica_calls.remove(self.pool, address)
            self._metrics.replica_reachable.remove(self.pool, address)
            self._last_call.pop(address, None)
        for replica in replicas:
            names = (self.pool, replica.address)
            self._metrics.replica_calls.labels(*names).set_function(partial(getattr, replica, "in_flight"))
            self._metrics.replica_reachable.labels(*names).set_function(replica.was_reached)
        self._replicas = replicas

    def _choose(self, failed: Replica | None = None) -> Replica:
        """Of those that are equally busy the one that has waited longest: many gateways with few calls use them all.

        One to which there is no connection is left to connect while others are there: a call to an address that
        nobody has any more would be too late for another. One that has just ``failed`` comes after the others, also if
        a call of another model has reached it meanwhile: while it starts, it has one model and not yet the other.
        """
        if len(self._replicas) > 1:
            chosen = min(self._replicas, key=lambda each: self._rank(each, failed))
        else:
            (chosen,) = self._replicas
        self._last_call[chosen.address] = next(self._calls)
        return chosen

    def _rank(self, replica: Replica, failed: Replica | None) -> tuple[bool, bool, bool, int, int]:
        waited = self._last_call.get(replica.address, -1)
        is_away = self._is_avoided(replica)
        return is_away, replica is failed, not replica.is_connected(), replica.in_flight, waited

    def _is_avoided(self, replica: Replica) -> bool:
        return replica.avoid_until > self._clock()

    async def _send(self, replica: Replica, method: str, request: Any, deadline: Deadline) -> Any:
        left_s = deadline.remaining_s - RETURN_MARGIN_S
        if left_s <= 0:
            raise deadline.make_error()
        parent = CURRENT_SPAN.get()
        try:
            if parent is None or method == STATUS:
                return await replica.call(method, request, left_s)
            return await call_traced(parent, replica, method, request, left_s)
        except ServingFailed as failure:
            self._metrics.serving_errors.labels(self.pool, failure.code.name).inc()
            if failure.status >= SERVER_ERROR:
                code, where = failure.code.name, {"replica": replica.address, "pool": self.pool}
                log.warning("model server failed", code=code, cause=str(failure), **where)
            raise


class RetryBudget:
    """Where no replica is known to be there, retries are at most a tenth of the requests of the last 10 s.

    A server in trouble must not get twice the load.

    Source: Beyer et al., Site Reliability Engineering, chapter 21.
    """

    def __init__(self) -> None:
        self._requests: deque[float] = deque()
        self._retries: deque[float] = deque()

    def add_request(self) -> None:
        self._requests.append(_drop_old(self._requests))

    def try_spend(self) -> bool:
        """Whether one more is allowed; a yes spends it."""
        now = _drop_old(self._retries)
        _drop_old(self._requests)
        if len(self._retries) >= max(MIN_RETRIES, MAX_RETRY_SHARE * len(self._requests)):
            return False
        self._retries.append(now)
        return True


def _drop_old(moments: deque[float]) -> float:
    """Drops what is older than the window; returns the time."""
    now = time.monotonic()
    while moments and moments[0] < now - RETRY_WINDOW_S:
        moments.popleft()
    return now
