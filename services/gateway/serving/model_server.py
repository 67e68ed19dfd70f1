"""Calls to the model servers. Runs on the event loop's thread: no locks."""

import asyncio
import re
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

import grpc
import structlog

from modelyard.models.tfserving.messages import (
    ServingFailed,
    VersionStatus,
    get_model_metadata_pb2,
    get_model_status_pb2,
    make_status_request,
    read_statuses,
)
from modelyard.models.types import DEFAULT_POOL, Array
from modelyard.services.gateway.http.deadline import Deadline
from modelyard.services.gateway.http.errors import InvalidOutput
from modelyard.services.gateway.metrics import Metrics
from modelyard.services.gateway.serving.batching.calls import Outputs, Target, count_rows
from modelyard.services.gateway.serving.circuit_breaker import NO_RESPONSE, PROBE_EVERY_S, CircuitBreaker
from modelyard.services.gateway.serving.servers.pools import FindPool, Pools
from modelyard.services.gateway.serving.servers.replicas import (
    METADATA,
    PREDICT,
    SERVER_ERROR,
    STATUS,
    PredictCall,
)
from modelyard.services.gateway.settings import GatewaySettings

log = structlog.get_logger()

MAX_TEXT_CHARS = 1024
_GRAPH_NOISE = re.compile(r"\{\{[^}]*\}\}|\[\[.*?\]\]|\[Op:[^\]]*\]", re.DOTALL)
"""Names of graph nodes in TensorFlow's messages, which clients must not see."""


class Place(NamedTuple):
    """A model, and the pool that answers for it."""

    model: str
    pool: str


class ModelServerClient:
    """Every call raises ``ServingFailed`` with the server's code, and a text fit for the public."""

    def __init__(
        self,
        settings: GatewaySettings,
        pools: Pools,
        find_pool: FindPool,
        metrics: Metrics,
        explain: Callable[[Target, ServingFailed], Awaitable[ServingFailed]],
    ) -> None:
        """``explain``: the failure to raise in place of NOT_FOUND."""
        self._pools, self._find_pool = pools, find_pool
        self._metrics = metrics
        self._status_timeout_s = settings.status_timeout_s
        self._predict_timeout_s = settings.predict_timeout_s
        self._explain = explain
        self._checks: dict[Place, asyncio.Task[None]] = {}
        """By model and pool: asks the servers about it, as its calls get no response."""
        self._breakers: defaultdict[Place, CircuitBreaker] = defaultdict(CircuitBreaker)

    async def predict(self, target: Target, inputs: Mapping[str, Array], deadline: Deadline) -> Outputs:
        """Runs one signature of one version.

        Raises:
            InvalidOutput: the response cannot be read.
        """
        outputs: Outputs = await self._infer(PREDICT, target, PredictCall(target, inputs), deadline, count_rows(inputs))
        return outputs

    async def run_examples(self, method: str, target: Target, request: Any, deadline: Deadline) -> Any:
        """The response of Classify or Regress; the target is filled into the request."""
        request.model_spec.name = target.model
        if target.version is not None:
            request.model_spec.version.value = target.version
        return await self._infer(method, target, request, deadline)

    async def get_status(self, model: str, version: int | None) -> tuple[VersionStatus, ...]:
        """State of every version the server knows, or of one."""
        request = make_status_request(model, version)
        return read_statuses(
            await self._call(self._locate(model), STATUS, request, Deadline.after(self._status_timeout_s))
        )

    async def get_every_status(self, model: str) -> list[VersionStatus]:
        """State of every version in every server that answers; raises ``ServingFailed`` if none does."""
        request = make_status_request(model, None)
        replicas = self._pools.get(self._locate(model).pool)
        said = await replicas.call_each(STATUS, request, Deadline.after(self._status_timeout_s))
        failures = [answer for answer in said if isinstance(answer, ServingFailed)]
        if len(failures) == len(said) and not any(failure.code is grpc.StatusCode.NOT_FOUND for failure in failures):
            raise ServingFailed(failures[0].code, make_public_text(failures[0]))
        replies = [answer for answer in said if isinstance(answer, get_model_status_pb2.GetModelStatusResponse)]
        return [status for reply in replies for status in read_statuses(reply)]

    async def get_metadata(
        self, model: str, version: int | None, label: str | None
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """The signatures of a version, by number or label; without either of the newest one."""
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = model
        if version is not None:
            request.model_spec.version.value = version
        elif label is not None:
            request.model_spec.version_label = label
        response: get_model_metadata_pb2.GetModelMetadataResponse = await self._call(
            self._locate(model), METADATA, request, Deadline.after(self._status_timeout_s)
        )
        return response

    def is_open(self, model: str) -> bool:
        """Whether the model's circuit is open in its pool: no call is made, but for one a second."""
        place = self._locate(model)
        return place in self._breakers and self._breakers[place].is_open

    async def close(self) -> None:
        """Closes the connections."""
        for check in self._checks.values():
            check.cancel()
        await self._pools.close()

    async def _infer(
        self, method: str, target: Target, request: Any, deadline: Deadline, rows: int | None = None
    ) -> Any:
        """A call that runs the model; the circuit breaker watches it."""
        place = self._locate(target.model)
        breaker = self._breakers[place]
        if not breaker.allows():
            raise ServingFailed(grpc.StatusCode.UNAVAILABLE, f"{target.model} does not answer at present")
        began = time.perf_counter()
        try:
            response = await self._call(place, method, request, deadline)
        except ServingFailed as failure:
            self._metrics.call_errors.labels(target.model).inc()
            self._record_failure(place, breaker, failure, deadline)
            if failure.code is grpc.StatusCode.NOT_FOUND:
                raise await self._explain(target, failure) from failure
            raise
        except InvalidOutput:
            self._record(place, breaker, responded=True)
            raise
        self._metrics.count_call(target.model, rows, time.perf_counter() - began)
        self._record(place, breaker, responded=True)
        return response

    def _record_failure(
        self, place: Place, breaker: CircuitBreaker, failure: ServingFailed, deadline: Deadline
    ) -> None:
        """A deadline that the client chose, shorter than ours, is no sign that the server fails: it is asked first."""
        code = failure.code
        impatient = code is grpc.StatusCode.DEADLINE_EXCEEDED and deadline.total_s < self._predict_timeout_s
        if not impatient:
            self._record(place, breaker, responded=failure.is_loading or code not in NO_RESPONSE)
        elif breaker.record_impatient() and breaker.is_closed:
            self._check(place, breaker)

    def _record(self, place: Place, breaker: CircuitBreaker, *, responded: bool) -> None:
        was_closed = breaker.is_closed
        breaker.record(responded=responded)
        if breaker.is_closed and not was_closed:
            log.info("circuit breaker closed", **place._asdict())
        elif was_closed and not breaker.is_closed:
            log.warning("circuit breaker opened", **place._asdict())
            self._check(place, breaker)

    def _check(self, place: Place, breaker: CircuitBreaker) -> None:
        """Starts to ask the servers about the model, unless that goes on already."""
        if place not in self._checks:
            self._checks[place] = asyncio.create_task(self._ask_until_reached(place, breaker))
            self._checks[place].add_done_callback(lambda _: self._checks.pop(place))

    async def _ask_until_reached(self, place: Place, breaker: CircuitBreaker) -> None:
        """Once a second until the circuit is closed: no answer opens it, and any answer makes it half open.

        So it closes again, and the gateway is ready, also where nobody sends predictions to one that is not. Of a model
        that has moved to another pool meanwhile nobody asks here any more.
        """
        while self._locate(place.model) == place:
            if await self._responds(place):
                breaker.reached()
            elif breaker.is_closed:
                breaker.open()
                log.warning("circuit breaker opened", **place._asdict())
            if breaker.is_closed:
                return
            await asyncio.sleep(PROBE_EVERY_S)

    async def _responds(self, place: Place) -> bool:
        request, deadline = make_status_request(place.model, None), Deadline.after(self._status_timeout_s)
        try:
            await self._call(place, STATUS, request, deadline)
        except ServingFailed as failure:
            return failure.code not in NO_RESPONSE
        return True

    def _locate(self, model: str) -> Place:
        return Place(model, DEFAULT_POOL if self._pools.is_single else self._find_pool(model))

    async def _call(self, place: Place, method: str, request: Any, deadline: Deadline) -> Any:
        replicas = self._pools.get(place.pool)
        try:
            return await replicas.call(method, request, deadline)
        except ServingFailed as failure:
            raise ServingFailed(failure.code, make_public_text(failure)) from None


def make_public_text(failure: ServingFailed) -> str:
    """The text for the client: the server's own about a bad request, but no internals."""
    if failure.is_loading:
        return str(failure)
    if failure.code is grpc.StatusCode.UNAVAILABLE:
        return "the model server is not available; try again in a moment"
    if failure.code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return "the model server did not answer in time"
    if failure.status >= SERVER_ERROR:
        return f"the model server failed ({failure.code.name})"
    lines = [" ".join(line.split()) for line in _GRAPH_NOISE.sub("", str(failure)).splitlines() if line.strip()]
    if lines and lines[0].startswith("Graph execution error"):  # where in the graph, line by line; then the cause
        lines = lines[-1:]
    return " ".join(lines)[:MAX_TEXT_CHARS]
