"""Natural batching: what arrives while a call is in flight leaves together with the next one.

An idle model gets each request at once, alone: no window to wait for. A busy one gets what has gathered, so batches
grow with the load by themselves. Runs on the event loop's thread: no locks.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import grpc
import numpy as np
from prometheus_client import Counter

from modelyard.models.registry.manifest import SignatureSpec
from modelyard.models.tfserving.messages import ServingFailed
from modelyard.models.types import Array
from modelyard.services.gateway.http.deadline import Deadline
from modelyard.services.gateway.http.errors import InvalidOutput
from modelyard.services.gateway.serving.batch_spans import record_waits, trace_call
from modelyard.services.logs import REQUEST_IDS, bind_request
from modelyard.services.tracing.spans import CURRENT_SPAN, Span

Inputs = Mapping[str, Array]

MAX_CALLS_IN_FLIGHT = 2
"""Per queue: while one batch runs, the next one is on its way."""
MAX_EXPLAINING = 1
UNRELATED_TO_ROWS = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DATA_LOSS,
    }
)
"""Failures that no single row can be the cause of."""


class Target(NamedTuple):
    """What is called."""

    model: str
    version: int | None
    """None lets the model server take its newest."""
    signature: str


class Outputs(dict[str, Array]):
    """One array per named output, and the version that they come from."""

    def __init__(self, arrays: Mapping[str, Array], version: int, *, finite: bool | None = None) -> None:
        """``finite``: whether every number is; checked here, once for a whole batch, unless given."""
        super().__init__(arrays)
        self.version = version
        self.finite = _is_finite(arrays) if finite is None else finite


Call = Callable[[Target, Inputs, Deadline], Awaitable[Outputs]]


@dataclass(eq=False)
class PendingRequest:
    """One request that waits for its rows."""

    inputs: Inputs
    size: int
    deadline: Deadline
    future: "asyncio.Future[Outputs]"
    request_ids: tuple[str, ...]
    """For the log lines of the call that it shares."""
    span: Span | None
    """None where nothing is traced."""
    queued_ns: int = 0
    """Since 1970, if it is traced."""

    def __post_init__(self) -> None:
        if self.span is not None:
            self.queued_ns = time.time_ns()


@dataclass(eq=False)
class BatchQueue:
    """Requests that may share a batch: one target, and inputs of one type and row shape."""

    key: Hashable
    target: Target
    max_rows: int
    """Rows in one call."""
    interactive: deque[PendingRequest] = field(default_factory=deque)
    bulk: deque[PendingRequest] = field(default_factory=deque)
    """Goes when nothing interactive waits."""
    in_flight: int = 0
    flush_scheduled: bool = False

    @property
    def has_pending(self) -> bool:
        return bool(self.interactive or self.bulk)


class Batcher:
    """Gathers requests into calls."""

    def __init__(self, call: Call, max_batch: int) -> None:
        self._call = call
        self._max_batch = max_batch
        self.queues: dict[Hashable, BatchQueue] = {}
        """Those that have something to do."""

    def count_waiting(self) -> int:
        """Number of requests that are in no call yet; from any thread."""
        return sum(len(queue.interactive) + len(queue.bulk) for queue in tuple(self.queues.values()))

    async def run(
        self, target: Target, inputs: Inputs, deadline: Deadline, *, max_rows: int | None = None, bulk: bool = False
    ) -> Outputs:
        """The outputs for these rows alone.

        Args:
            max_rows: largest number of rows in one call to this target, if it has a limit of its own.
            bulk: goes when nothing interactive waits.

        Raises:
            ServingFailed: DEADLINE_EXCEEDED as soon as the deadline has passed, whatever the call does; or its own.
            InvalidOutput: an output has no row for each input's row.
        """
        loop = asyncio.get_running_loop()
        pending = PendingRequest(
            inputs,
            len(next(iter(inputs.values()))),
            deadline,
            loop.create_future(),
            REQUEST_IDS.get(),
            CURRENT_SPAN.get(),
        )
        timer = loop.call_later(deadline.remaining_s, _expire, pending)
        try:
            self._enqueue(pending, target, max_rows or self._max_batch, bulk=bulk)
            return await pending.future
        finally:
            timer.cancel()

    def _enqueue(self, pending: PendingRequest, target: Target, max_rows: int, *, bulk: bool) -> None:
        kinds = tuple((name, array.dtype, array.shape[1:]) for name, array in pending.inputs.items())
        queue = self.queues.get(key := (target, kinds))
        if queue is None:
            queue = self.queues[key] = BatchQueue(key, target, max_rows)
        (queue.bulk if bulk else queue.interactive).append(pending)
        self._schedule_flush(queue)

    def _schedule_flush(self, queue: BatchQueue) -> None:
        """Sends in the loop's next iteration, together with everything that arrives in this one."""
        if queue.has_pending and queue.in_flight < MAX_CALLS_IN_FLIGHT and not queue.flush_scheduled:
            queue.flush_scheduled = True
            asyncio.get_running_loop().call_soon(self._flush, queue)

    def _flush(self, queue: BatchQueue) -> None:
        queue.flush_scheduled = False
        batch = self._next_batch(queue)
        if batch:
            queue.in_flight += 1
            if batch[0].span is not None:
                record_waits(batch)
            task = asyncio.get_running_loop().create_task(self._start(queue, batch))
            task.add_done_callback(lambda _: self._finish_call(queue))

    def _finish_call(self, queue: BatchQueue) -> None:
        queue.in_flight -= 1
        self._schedule_flush(queue)
        if not queue.has_pending and not queue.in_flight:
            self.queues.pop(queue.key, None)

    def _next_batch(self, queue: BatchQueue) -> list[PendingRequest]:
        """The next batch: interactive first, whole requests only, without those that nobody waits for any more."""
        batch: list[PendingRequest] = []
        rows = 0
        for queued in (queue.interactive, queue.bulk):
            while queued and (not batch or rows + queued[0].size <= queue.max_rows):
                pending = queued.popleft()
                if not pending.future.done():
                    batch.append(pending)
                    rows += pending.size
        return batch

    async def _start(self, queue: BatchQueue, batch: Sequence[PendingRequest]) -> None:
        """Sends, traced or not: a process traces all requests, or none."""
        if batch[0].span is None:
            await self._send(queue, batch)
            return
        with trace_call(batch, queue.target):
            await self._send(queue, batch)

    async def _send(self, queue: BatchQueue, batch: Sequence[PendingRequest]) -> None:
        bind_request(*(request_id for pending in batch for request_id in pending.request_ids))
        latest = max((pending.deadline for pending in batch), key=lambda deadline: deadline.ends_at)
        try:
            outputs = await self._call(queue.target, _concatenate(batch), latest)
            _distribute(outputs, batch)
        except ServingFailed as failure:
            if len(batch) == 1 or failure.code in UNRELATED_TO_ROWS:
                _fail(batch, failure)
            else:  # some row is bad: each request is judged alone, so that the others get their outputs
                await asyncio.gather(*(self._start(queue, [pending]) for pending in batch if not pending.future.done()))
        except Exception as error:  # noqa: BLE001  # every waiting request gets the error
            _fail(batch, error)


class Explanations:
    """Calls that explain answers: one at a time, of all models, and no rows of other requests with them.

    One costs as much as dozens of answers, which are not to wait for more than one of them. Its rows are explained one
    by one, so that a shared call would save nothing.
    """

    def __init__(self, call: Call, counter: Counter) -> None:
        self._call = call
        self._counter = counter
        self._turn = asyncio.Semaphore(MAX_EXPLAINING)

    async def run(self, target: Target, inputs: Inputs, deadline: Deadline) -> Outputs:
        """The outputs for these rows.

        Raises:
            ServingFailed: DEADLINE_EXCEEDED, also when its turn does not come in time; or the call's own.
        """
        try:
            async with asyncio.timeout(deadline.remaining_s), self._turn:
                outputs = await self._call(target, inputs, deadline)
        except TimeoutError:
            raise _explain_lateness(deadline.make_error()) from None
        except ServingFailed as failure:
            raise _explain_lateness(failure) from None
        self._counter.labels(target.model).inc(count_rows(inputs))
        return outputs


def _explain_lateness(failure: ServingFailed) -> ServingFailed:
    """What helps who asked for an explanation that came too late; any other failure as it is."""
    if failure.code is not grpc.StatusCode.DEADLINE_EXCEEDED:
        return failure
    return ServingFailed(failure.code, f"explain: {failure}; ask for fewer inputs at once, or allow more time")


def _is_finite(arrays: Mapping[str, Array]) -> bool:
    return all(array.dtype.kind != "f" or bool(np.isfinite(array).all()) for array in arrays.values())


def _expire(pending: PendingRequest) -> None:
    if not pending.future.done():
        pending.future.set_exception(pending.deadline.make_error())


def _fail(batch: Sequence[PendingRequest], error: Exception) -> None:
    for pending in batch:
        if not pending.future.done():
            pending.future.set_exception(error)


def _concatenate(batch: Sequence[PendingRequest]) -> Inputs:
    if len(batch) == 1:
        return batch[0].inputs
    return {name: np.concatenate([pending.inputs[name] for pending in batch]) for name in batch[0].inputs}


def _distribute(outputs: Outputs, batch: Sequence[PendingRequest]) -> None:
    rows = sum(pending.size for pending in batch)
    for name, array in outputs.items():
        if array.shape[:1] != (rows,):
            raise InvalidOutput(f"{name}: expected {rows} rows from the model, received shape {list(array.shape)}")
    start = 0
    for pending in batch:
        end = start + pending.size
        if not pending.future.done():
            own = {name: array[start:end] for name, array in outputs.items()}
            pending.future.set_result(Outputs(own, outputs.version, finite=outputs.finite or None))
        start = end


def may_share(signature: SignatureSpec, inputs: Mapping[str, Array]) -> bool:
    """Whether each row of these inputs has its own row in every output, as far as shapes tell."""
    per_row = all(spec.shape and spec.shape[0] is None for spec in (*signature.inputs, *signature.outputs))
    sizes = {array.shape[:1] for array in inputs.values()}
    return per_row and len(sizes) == 1 and () not in sizes


def count_rows(inputs: Mapping[str, Array]) -> int:
    return max((len(array) for array in inputs.values() if array.shape), default=1)
