"""Threads that run batches, and the queues of calls that they serve. Knows nothing of tensors.

As in tensorflow/core/kernels/batching_util ``shared_batch_scheduler.h``: one queue for each version and signature, all
queues served in turn by the same threads. A queue holds batches; a batch is taken when it is full, when another one is
queued behind it, or when its timeout has passed.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import grpc

from modelyard.services.modelserver.batching.parameters import BatchingParameters
from modelyard.services.modelserver.errors import Refused

T = TypeVar("T")


@dataclass
class Batch(Generic[T]):
    """Calls that will run together. ``due`` is a ``time.monotonic()`` time."""

    due: float
    calls: list[T] = field(default_factory=list)
    rows: int = 0


class BatchQueue(Generic[T]):
    """The waiting calls of one signature of one version. Its state is guarded by the lock of its threads."""

    def __init__(self, parameters: BatchingParameters, process: Callable[[Sequence[T]], None]) -> None:
        self.process = process
        self._limit = parameters.max_batch_size
        self._wait_s = parameters.batch_timeout_micros / 1e6
        self._max_batches = parameters.max_enqueued_batches
        self._batches: deque[Batch[T]] = deque()

    def add(self, call: T, rows: int) -> None:
        """Appends to the newest batch, or starts one.

        Raises:
            Refused: INVALID_ARGUMENT, it has more rows than a batch may have; UNAVAILABLE, the queue is full.
        """
        if rows > self._limit:
            message = f"Task size {rows} is larger than maximum input batch size {self._limit}"
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, message)
        if not self._batches or self._batches[-1].rows + rows > self._limit:
            if len(self._batches) >= self._max_batches:
                message = "The batch scheduling queue to which this task was submitted is full"
                raise Refused(grpc.StatusCode.UNAVAILABLE, message)
            self._batches.append(Batch(time.monotonic() + self._wait_s))
        self._batches[-1].calls.append(call)
        self._batches[-1].rows += rows

    @property
    def rows(self) -> int:
        return sum(batch.rows for batch in self._batches)

    def due(self) -> float | None:
        """Time when the first batch is due; None if there is none."""
        if not self._batches:
            return None
        first = self._batches[0]
        return 0.0 if len(self._batches) > 1 or first.rows >= self._limit else first.due

    def pop_batch(self) -> Sequence[T]:
        """Removes the first batch and returns its calls."""
        return self._batches.popleft().calls


class BatchThreads:
    """Runs the batches of any number of queues, in turn."""

    def __init__(self, parameters: BatchingParameters) -> None:
        self._changed = threading.Condition()
        self._queues: deque[BatchQueue[object]] = deque()
        for number in range(parameters.num_batch_threads):
            name = f"{parameters.thread_pool_name}-{number}"
            threading.Thread(target=self._serve, name=name, daemon=True).start()

    def add_queue(self, queue: "BatchQueue[T]") -> None:
        with self._changed:
            self._queues.append(queue)  # type: ignore[arg-type]  # each queue processes only what was added to it

    def remove_queue(self, queue: "BatchQueue[T]") -> None:
        """Removes a queue that has no call left."""
        with self._changed:
            self._queues.remove(queue)  # type: ignore[arg-type]

    def queued_rows(self, queue: "BatchQueue[T]") -> int:
        """Rows of calls that no thread has taken yet."""
        with self._changed:
            return queue.rows

    def enqueue(self, queue: "BatchQueue[T]", call: T, rows: int) -> None:
        """Queues a call.

        Raises:
            Refused: as ``BatchQueue.add``.
        """
        with self._changed:
            queue.add(call, rows)
            self._changed.notify()

    def _serve(self) -> None:
        while True:
            queue, calls = self._next()
            queue.process(calls)

    def _next(self) -> tuple[BatchQueue[object], Sequence[object]]:
        """Waits for a batch that is due; its queue becomes the last in turn."""
        with self._changed:
            while True:
                now = time.monotonic()
                dues = [(due, queue) for queue in self._queues if (due := queue.due()) is not None]
                ready = next((queue for due, queue in dues if due <= now), None)
                if ready is not None:
                    self._queues.remove(ready)
                    self._queues.append(ready)
                    return ready, ready.pop_batch()
                self._changed.wait(min((due for due, _ in dues), default=now + 3600) - now)
