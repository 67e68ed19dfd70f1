"""The model server's replicas: which of them gets a call, and what happens when one does not respond.

Everything here runs on the event loop's thread: no locks. Bytes go in and come out; the client knows the messages.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

import grpc
import structlog

from modelyard.models.tfserving.messages import CHANNEL_OPTIONS, TENSORS_AS_CONTENT, ServingFailed
from modelyard.services.gateway.http.deadline import Deadline
from modelyard.services.gateway.metrics import Metrics

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
CALL_METADATA = grpc.aio.Metadata(TENSORS_AS_CONTENT)
"""Of every call."""


class Replicas:
    """All of them. Connections are opened by the first call."""

    def __init__(self, addresses: Sequence[str], metrics: Metrics, clock: Callable[[], float] = time.monotonic) -> None:
        self._replicas = [Replica(address, clock) for address in addresses]
        self._budget = RetryBudget()
        self._metrics = metrics
        self._clock = clock
        for replica in self._replicas:  # read when somebody asks for metrics
            metrics.replica_calls.labels(replica.address).set_function(partial(getattr, replica, "in_flight"))
            metrics.replica_reachable.labels(replica.address).set_function(replica.was_reached)

    async def call(self, method: str, request: bytes, deadline: Deadline) -> bytes:
        """The response of the least busy replica that can be reached; once more if it was away and there is time.

        To another that is there, always: what did not reach the one that is gone costs the others nothing twice.

        Raises:
            ServingFailed: with the server's code and text.
        """
        self._budget.add_request()
        replica = self._choose()
        try:
            return await self._send(replica, method, request, deadline)
        except ServingFailed as failure:
            late = deadline.remaining_s < MIN_RETRY_SHARE * deadline.total_s
            if failure.code is not grpc.StatusCode.UNAVAILABLE or late:
                raise
            if self._is_avoided(self._choose()) and not self._budget.try_spend():
                raise
        self._metrics.serving_retries.inc()
        await asyncio.sleep(random.uniform(*RETRY_WAIT_S))
        return await self._send(self._choose(), method, request, deadline)

    async def call_each(self, method: str, request: bytes, deadline: Deadline) -> list[bytes | ServingFailed]:
        """What every replica says, one by one: its response, or its failure."""

        async def ask(replica: "Replica") -> bytes | ServingFailed:
            try:
                return await replica.call(method, request, max(deadline.remaining_s - RETURN_MARGIN_S, 0.001))
            except ServingFailed as failure:
                return failure

        return list(await asyncio.gather(*map(ask, self._replicas)))

    async def close(self) -> None:
        for replica in self._replicas:
            await replica.close()

    def _choose(self) -> "Replica":
        return min(self._replicas, key=lambda replica: (self._is_avoided(replica), replica.in_flight))

    def _is_avoided(self, replica: "Replica") -> bool:
        return replica.avoid_until > self._clock()

    async def _send(self, replica: "Replica", method: str, request: bytes, deadline: Deadline) -> bytes:
        left_s = deadline.remaining_s - RETURN_MARGIN_S
        if left_s <= 0:
            raise deadline.make_error()
        try:
            return await replica.call(method, request, left_s)
        except ServingFailed as failure:
            self._metrics.serving_errors.labels(failure.code.name).inc()
            if failure.status >= SERVER_ERROR:
                log.warning("model server failed", code=failure.code.name, cause=str(failure), replica=replica.address)
            raise


class Replica:
    """One address."""

    def __init__(self, address: str, clock: Callable[[], float]) -> None:
        self.address = address
        self._clock = clock
        self.in_flight = 0
        self.avoid_until = 0.0
        self._channel: grpc.aio.Channel | None = None
        self._methods: dict[str, grpc.aio.UnaryUnaryMultiCallable] = {}

    async def call(self, method: str, request: bytes, timeout_s: float) -> bytes:
        """One call; raises ``ServingFailed``."""
        self.in_flight += 1
        try:
            response: bytes = await self._method(method)(request, timeout=timeout_s, metadata=CALL_METADATA)
        except grpc.aio.AioRpcError as error:
            code = error.code()
            if code is grpc.StatusCode.CANCELLED:  # not by us: the server ends, and drops what it has just taken
                code = grpc.StatusCode.UNAVAILABLE
            if code is grpc.StatusCode.UNAVAILABLE:
                self.avoid_until = self._clock() + AVOID_S
            raise ServingFailed(code, error.details() or code.name) from None
        finally:
            self.in_flight -= 1
        self.avoid_until = 0.0
        return response

    def was_reached(self) -> bool:
        """False if the last call did not reach it."""
        return self.avoid_until == 0.0

    async def close(self) -> None:
        if self._channel:
            await self._channel.close()

    def _method(self, name: str) -> grpc.aio.UnaryUnaryMultiCallable:
        if self._channel is None:
            self._channel = grpc.aio.insecure_channel(self.address, options=CHANNEL_OPTIONS)
        if name not in self._methods:
            self._methods[name] = self._channel.unary_unary(name)
        return self._methods[name]


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
