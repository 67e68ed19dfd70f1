"""``--enable_batching``: calls that come at the same time run together, each as if it had run alone.

Deliberately unlike TensorFlow Serving, where a batch shares one fate: calls that cannot be joined run apart, and when a
joint run fails each of its calls runs by itself, so that only the call that is at fault fails.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import structlog

from modelyard.services.modelserver.batching.batch import Feeds, likeness, merged, next_size, rows_of, split
from modelyard.services.modelserver.batching.batch_queue import BatchQueue, BatchThreads
from modelyard.services.modelserver.batching.parameters import BatchingParameters
from modelyard.services.modelserver.errors import Refused, unforeseen
from modelyard.services.modelserver.runtime.servable import Run, Servable, Waiting, always
from modelyard.services.modelserver.runtime.tensor import Tensor

log = structlog.get_logger()


@dataclass
class Call:
    """One caller's run, and where it waits for the outcome."""

    feeds: Feeds
    rows: int
    waiting: Waiting
    outcome: list[Tensor] | Refused | None = None
    done: threading.Event = field(default_factory=threading.Event)

    def end(self, outcome: list[Tensor] | Refused) -> None:
        self.outcome = outcome
        self.done.set()


def batched(servable: Servable, parameters: BatchingParameters, threads: BatchThreads) -> Servable:
    """The same version, whose runs go through queues."""
    runner = BatchedRun(servable.run, parameters, threads)

    def close() -> None:
        runner.close()
        servable.close()

    return replace(servable, run=runner, close=close)


class BatchedRun:
    """A ``Run`` with a queue for each combination of inputs and outputs, which is what a signature comes to."""

    def __init__(self, run: Run, parameters: BatchingParameters, threads: BatchThreads) -> None:
        self._run = run
        self._parameters = parameters
        self._threads = threads
        self._opening = threading.Lock()
        self._queues: dict[tuple[tuple[str, ...], tuple[str, ...]], SignatureQueue] = {}

    def __call__(self, feeds: Feeds, fetches: tuple[str, ...], waiting: Waiting) -> list[Tensor]:
        rows = rows_of(feeds)
        queue = self._queue(tuple(feeds), fetches)
        if rows is None or not queue.splits:
            return self._run(feeds, fetches, waiting)
        call = Call(feeds, rows, waiting)
        self._threads.add(queue.queue, call, rows)
        call.done.wait()
        if isinstance(call.outcome, Refused):
            raise call.outcome
        return call.outcome or []

    @property
    def waiting_rows(self) -> int:
        """Rows of calls that no thread has taken yet."""
        with self._opening:
            queues = tuple(self._queues.values())
        return sum(self._threads.waiting_rows(queue.queue) for queue in queues)

    def close(self) -> None:
        for queue in self._queues.values():
            self._threads.close(queue.queue)

    def _queue(self, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> "SignatureQueue":
        found = self._queues.get((feeds, fetches))
        if found is None:
            with self._opening:
                found = self._queues.get((feeds, fetches))
                if found is None:
                    found = SignatureQueue(self._run, fetches, self._parameters)
                    self._threads.open(found.queue)
                    self._queues[feeds, fetches] = found
        return found


class SignatureQueue:
    """The calls of one signature."""

    def __init__(self, run: Run, fetches: tuple[str, ...], parameters: BatchingParameters) -> None:
        self._run = run
        self._fetches = fetches
        self._padded = parameters.pad_variable_length_inputs
        self._allowed = parameters.allowed_batch_sizes
        self.queue: BatchQueue[Call] = BatchQueue(parameters, self.process)
        self.splits = True
        """Whether outputs have a row for each row that went in; if not, calls are not joined any more."""

    def process(self, calls: Sequence[Call]) -> None:
        """Runs a batch; calls that nobody waits for any more are left out."""
        try:
            self._process(calls)
        except Exception as error:  # the outermost boundary of a batch: its callers must hear of it, its thread go on
            log.exception("batch_failed")
            for call in calls:
                if not call.done.is_set():
                    call.end(unforeseen(error))

    def _process(self, calls: Sequence[Call]) -> None:
        groups: dict[object, list[Call]] = {}
        for call in calls:
            if _is_waiting(call):
                groups.setdefault(likeness(call.feeds, padded=self._padded), []).append(call)
        for group in groups.values():
            outcomes = self._together(group)
            for call, outcome in zip(group, outcomes or map(self._alone, group), strict=True):
                call.end(outcome)

    def _together(self, calls: Sequence[Call]) -> list[list[Tensor]] | None:
        """Each call's outputs; None if they have to be run one by one to know."""
        sizes = [call.rows for call in calls]
        rows = next_size(sum(sizes), self._allowed)
        try:
            feeds = merged([call.feeds for call in calls], rows, padded=self._padded)
            outputs = self._run(feeds, self._fetches, always)
        except Refused:
            return None
        shares = split(outputs, sizes, rows)
        self.splits = self.splits and shares is not None
        return shares

    def _alone(self, call: Call) -> list[Tensor] | Refused:
        try:
            return self._run(call.feeds, self._fetches, call.waiting)
        except Refused as refusal:
            return refusal


def _is_waiting(call: Call) -> bool:
    try:
        call.waiting()
    except Refused as refusal:
        call.end(refusal)
        return False
    return True
