"""Natural batching: what arrives while a call is in flight leaves together with the next one.

An idle model gets each request at once, alone: no window to wait for. A busy one gets what has gathered, so batches
grow with the load by themselves. Runs on the event loop's thread: no locks.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import grpc
import numpy as np

from modelyard.models.tfserving.messages import ServingFailed
from modelyard.models.types import Array
from modelyard.services.gateway.http.deadline import Deadline
from modelyard.services.gateway.http.errors import InvalidOutput

Inputs = Mapping[str, Array]

CALLS_IN_FLIGHT = 2
"""Per lane: while one batch runs, the next one is on its way."""
NOT_THE_BATCH = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.CANCELLED,
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
        """``finite``: whether every number is; looked at here, once for a whole batch, unless given."""
        super().__init__(arrays)
        self.version = version
        self.finite = _finite(arrays) if finite is None else finite


Call = Callable[[Target, Inputs, Deadline], Awaitable[Outputs]]


@dataclass(eq=False)
class Entry:
    """One request that waits for its rows."""

    inputs: Inputs
    size: int
    deadline: Deadline
    answer: "asyncio.Future[Outputs]"


@dataclass(eq=False)
class Lane:
    """Requests that may share a batch: one target, and inputs of one type and row shape."""

    key: Hashable
    target: Target
    most: int
    """Rows in one call."""
    interactive: deque[Entry] = field(default_factory=deque)
    bulk: deque[Entry] = field(default_factory=deque)
    """Goes when nothing interactive waits."""
    in_flight: int = 0
    flush_planned: bool = False

    @property
    def waits(self) -> bool:
        return bool(self.interactive or self.bulk)


class Batcher:
    """Gathers requests into calls."""

    def __init__(self, call: Call, max_batch: int) -> None:
        self._call = call
        self._max_batch = max_batch
        self.lanes: dict[Hashable, Lane] = {}
        """Those that have something to do."""

    async def run(
        self, target: Target, inputs: Inputs, deadline: Deadline, *, most: int | None = None, bulk: bool = False
    ) -> Outputs:
        """The outputs for these rows alone.

        Args:
            most: most rows in one call to this target, if it has a limit of its own.
            bulk: goes when nothing interactive waits.

        Raises:
            ServingFailed: DEADLINE_EXCEEDED as soon as the deadline has passed, whatever the call does; or its own.
            InvalidOutput: an output has no row for each input's row.
        """
        loop = asyncio.get_running_loop()
        entry = Entry(inputs, len(next(iter(inputs.values()))), deadline, loop.create_future())
        timer = loop.call_later(deadline.left_s, _expire, entry)
        try:
            self._enter(entry, target, most or self._max_batch, bulk=bulk)
            return await entry.answer
        finally:
            timer.cancel()

    def _enter(self, entry: Entry, target: Target, most: int, *, bulk: bool) -> None:
        kinds = tuple((name, array.dtype, array.shape[1:]) for name, array in entry.inputs.items())
        lane = self.lanes.get(key := (target, kinds))
        if lane is None:
            lane = self.lanes[key] = Lane(key, target, most)
        (lane.bulk if bulk else lane.interactive).append(entry)
        self._plan(lane)

    def _plan(self, lane: Lane) -> None:
        """Sends soon: whatever arrives in the same turn of the loop goes along."""
        if lane.waits and lane.in_flight < CALLS_IN_FLIGHT and not lane.flush_planned:
            lane.flush_planned = True
            asyncio.get_running_loop().call_soon(self._flush, lane)

    def _flush(self, lane: Lane) -> None:
        lane.flush_planned = False
        batch = self._take(lane)
        if batch:
            lane.in_flight += 1
            task = asyncio.get_running_loop().create_task(self._send(lane, batch))
            task.add_done_callback(lambda _: self._landed(lane))

    def _landed(self, lane: Lane) -> None:
        lane.in_flight -= 1
        self._plan(lane)
        if not lane.waits and not lane.in_flight:
            self.lanes.pop(lane.key, None)

    def _take(self, lane: Lane) -> list[Entry]:
        """The next batch: interactive first, whole requests only, without those that nobody waits for any more."""
        batch: list[Entry] = []
        rows = 0
        for waiting in (lane.interactive, lane.bulk):
            while waiting and (not batch or rows + waiting[0].size <= lane.most):
                entry = waiting.popleft()
                if not entry.answer.done():
                    batch.append(entry)
                    rows += entry.size
        return batch

    async def _send(self, lane: Lane, batch: Sequence[Entry]) -> None:
        longest = max((entry.deadline for entry in batch), key=lambda deadline: deadline.ends_at)
        try:
            outputs = await self._call(lane.target, _joined(batch), longest)
            _hand_out(outputs, batch)
        except ServingFailed as failure:
            if len(batch) == 1 or failure.code in NOT_THE_BATCH:
                _fail(batch, failure)
            else:  # some row is bad: each request is judged alone, so that the others get their answers
                await asyncio.gather(*(self._send(lane, [entry]) for entry in batch if not entry.answer.done()))
        except Exception as error:  # noqa: BLE001  # whoever waits must hear of it, whatever it is
            _fail(batch, error)


def _finite(arrays: Mapping[str, Array]) -> bool:
    return all(array.dtype.kind != "f" or bool(np.isfinite(array).all()) for array in arrays.values())


def _expire(entry: Entry) -> None:
    if not entry.answer.done():
        entry.answer.set_exception(entry.deadline.missed())


def _fail(batch: Sequence[Entry], error: Exception) -> None:
    for entry in batch:
        if not entry.answer.done():
            entry.answer.set_exception(error)


def _joined(batch: Sequence[Entry]) -> Inputs:
    if len(batch) == 1:
        return batch[0].inputs
    return {name: np.concatenate([entry.inputs[name] for entry in batch]) for name in batch[0].inputs}


def _hand_out(outputs: Outputs, batch: Sequence[Entry]) -> None:
    rows = sum(entry.size for entry in batch)
    for name, array in outputs.items():
        if array.shape[:1] != (rows,):
            raise InvalidOutput(f"{name}: expected {rows} rows from the model, received shape {list(array.shape)}")
    start = 0
    for entry in batch:
        end = start + entry.size
        if not entry.answer.done():
            own = {name: array[start:end] for name, array in outputs.items()}
            entry.answer.set_result(Outputs(own, outputs.version, finite=outputs.finite or None))
        start = end
