"""Natural batching: what arrives while a call is in flight leaves together with the next one.

An idle model gets each request at once, alone: no window to wait for. A busy one gets what has gathered, so batches
grow with the load by themselves; callers who were just answered are waited for where that pays (``waiting.py``). Runs
on the event loop's thread: no locks.
"""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np

from modelyard.models.tfserving.messages import ServingFailed
from modelyard.services.gateway.http.deadline import Deadline
from modelyard.services.gateway.http.errors import InvalidOutput
from modelyard.services.gateway.serving.batching.calls import UNRELATED_TO_ROWS, Call, Inputs, Outputs, Target
from modelyard.services.gateway.serving.batching.spans import count_rows, record_waits, trace_call
from modelyard.services.gateway.serving.batching.waiting import ReturningCallers
from modelyard.services.logs import REQUEST_IDS, bind_request
from modelyard.services.tracing.spans import CURRENT_SPAN, Span

MAX_CALLS_IN_FLIGHT = 2
"""Per queue: while one batch runs, the next one is on its way."""
MAX_IDLE_QUEUES = 64
"""Queues with nothing to do that are kept for what they have learned; shapes are the clients' to choose."""


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

    @property
    def is_answered(self) -> bool:
        """Whether it has its outputs: no error, and its caller has not gone."""
        return self.future.done() and not self.future.cancelled() and self.future.exception() is None


@dataclass(eq=False)
class BatchQueue:
    """Requests that may share a batch: one target, and inputs of one type and row shape."""

    target: Target
    max_rows: int
    """Rows in one call."""
    interactive: deque[PendingRequest] = field(default_factory=deque)
    bulk: deque[PendingRequest] = field(default_factory=deque)
    """Goes when nothing interactive waits."""
    in_flight: int = 0
    flush_scheduled: bool = False
    callers: ReturningCallers = field(default_factory=ReturningCallers)
    wait: asyncio.TimerHandle | None = None
    """Ends a wait for returning callers."""

    @property
    def pending(self) -> int:
        """Requests that wait."""
        return len(self.interactive) + len(self.bulk)

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits, and no call is in flight."""
        return not self.in_flight and not self.interactive and not self.bulk


class Batcher:
    """Gathers requests into calls."""

    def __init__(self, call: Call, max_batch: int) -> None:
        self._call = call
        self._max_batch = max_batch
        self.queues: OrderedDict[Hashable, BatchQueue] = OrderedDict()
        """Those that have something to do, and the last that had."""

    def count_waiting(self) -> int:
        """Number of requests that are in no call yet; from any thread."""
        return sum(queue.pending for queue in tuple(self.queues.values()))

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
        queue = self._find_queue(target, inputs, max_rows or self._max_batch)
        span = CURRENT_SPAN.get()
        if span is None and queue.is_idle and queue.callers.is_one:
            return await self._run_alone(queue, inputs, deadline)
        loop = asyncio.get_running_loop()
        size = len(next(iter(inputs.values())))
        pending = PendingRequest(inputs, size, deadline, loop.create_future(), REQUEST_IDS.get(), span)
        timer = loop.call_later(deadline.remaining_s, _expire, pending)
        try:
            (queue.bulk if bulk else queue.interactive).append(pending)
            self._schedule_flush(queue)
            return await pending.future
        finally:
            timer.cancel()

    def _find_queue(self, target: Target, inputs: Inputs, max_rows: int) -> BatchQueue:
        kinds = tuple((name, array.dtype, array.shape[1:]) for name, array in inputs.items())
        queue = self.queues.get(key := (target, kinds))
        if queue is None:
            if len(self.queues) >= MAX_IDLE_QUEUES:
                self._drop_idle_queue()
            queue = self.queues[key] = BatchQueue(target, max_rows)
        self.queues.move_to_end(key)
        return queue

    def _drop_idle_queue(self) -> None:
        """Of those that are idle the one that was asked longest ago, if any is."""
        idle = next((key for key, queue in self.queues.items() if queue.is_idle), None)
        if idle is not None:
            del self.queues[idle]

    async def _run_alone(self, queue: BatchQueue, inputs: Inputs, deadline: Deadline) -> Outputs:
        """The shortest way, for the one caller that there is: in its own task, in this turn of the loop.

        Whoever comes meanwhile finds a call in flight.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        queue.in_flight += 1
        try:
            async with asyncio.timeout(deadline.remaining_s):
                outputs = await self._call(queue.target, inputs, deadline)
        except TimeoutError:
            raise deadline.make_error() from None
        finally:
            queue.in_flight -= 1
            self._schedule_flush(queue)
        size = len(next(iter(inputs.values())))
        require_rows(outputs, size)
        now = loop.time()
        queue.callers.note_answer(1, size, now - began, now)
        return outputs

    def _schedule_flush(self, queue: BatchQueue) -> None:
        """Sends in the loop's next iteration, together with everything that arrives in this one; or waits for more."""
        if not queue.pending or queue.in_flight >= MAX_CALLS_IN_FLIGHT or queue.flush_scheduled:
            return
        loop = asyncio.get_running_loop()
        if not queue.callers.is_waited_for(queue.pending, loop.time()):
            queue.flush_scheduled = True
            loop.call_soon(self._flush, queue)
        elif queue.wait is None:
            queue.wait = loop.call_at(queue.callers.until, self._end_wait, queue)

    def _end_wait(self, queue: BatchQueue) -> None:
        queue.wait = None
        self._schedule_flush(queue)

    def _flush(self, queue: BatchQueue) -> None:
        queue.flush_scheduled = False
        batch = self._next_batch(queue)
        if batch:
            queue.in_flight += 1
            if batch[0].span is not None:
                record_waits(batch)
            loop = asyncio.get_running_loop()
            began = loop.time()
            task = loop.create_task(self._start(queue, batch))
            task.add_done_callback(lambda _: self._finish_call(queue, batch, began))

    def _finish_call(self, queue: BatchQueue, batch: Sequence[PendingRequest], began: float) -> None:
        queue.in_flight -= 1
        if batch[0].is_answered:
            now = asyncio.get_running_loop().time()
            queue.callers.note_answer(len(batch), count_rows(batch), now - began, now)
        self._schedule_flush(queue)

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
    require_rows(outputs, count_rows(batch))
    start = 0
    for pending in batch:
        end = start + pending.size
        if not pending.future.done():
            own = {name: array[start:end] for name, array in outputs.items()}
            pending.future.set_result(Outputs(own, outputs.version, finite=outputs.finite or None))
        start = end


def require_rows(outputs: Outputs, rows: int) -> None:
    """Raises ``InvalidOutput`` if an output has not a row for each input's row."""
    for name, array in outputs.items():
        if array.shape[:1] != (rows,):
            raise InvalidOutput(f"{name}: expected {rows} rows from the model, received shape {list(array.shape)}")
