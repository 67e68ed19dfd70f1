"""``--enable_batching``: concurrent calls run together, each with the result that it would have alone.

Deliberately unlike TensorFlow Serving, where a batch fails as a whole: calls that cannot be joined run apart, and when
a joint run fails each of its calls runs by itself, so that only the call that caused the failure fails.
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter

import structlog

from modelyard.services.modelserver.batching.batch import (
    Feeds,
    count_rows,
    make_batch_key,
    merge_calls,
    round_up_size,
    split_outputs,
)
from modelyard.services.modelserver.batching.batch_queue import BatchQueue, BatchThreads
from modelyard.services.modelserver.batching.parameters import BatchingParameters
from modelyard.services.modelserver.errors import Refused, wrap_error
from modelyard.services.modelserver.metrics.call import CURRENT_CALL, MeasuredCall
from modelyard.services.modelserver.runtime.servable import CancelCheck, Run, Servable, never_cancelled
from modelyard.services.modelserver.runtime.tensor import Tensor
from modelyard.services.modelserver.runtime.traced_run import RUN
from modelyard.services.tracing.spans import CURRENT_SPAN, Span

log = structlog.get_logger()

WAIT = "wait for the batch"


@dataclass
class QueuedCall:
    """One call, its outcome, and the event that its thread waits for."""

    feeds: Feeds
    rows: int
    check_cancelled: CancelCheck
    measured: MeasuredCall | None = None
    outcome: list[Tensor] | Refused | None = None
    done: threading.Event = field(default_factory=threading.Event)
    shared_by: int = 0
    """Number of calls in its run, and when that began and ended, in nanoseconds since 1970; 0 if it did not run."""
    began_ns: int = 0
    ended_ns: int = 0

    def finish(self, outcome: list[Tensor] | Refused) -> None:
        self.outcome = outcome
        self.done.set()


def add_batching(servable: Servable, parameters: BatchingParameters, threads: BatchThreads) -> Servable:
    """A version whose runs go through queues."""
    runner = BatchedRun(servable.run, parameters, threads)

    def close() -> None:
        runner.close()
        servable.close()

    return replace(servable, run=runner, close=close)


class BatchedRun:
    """A ``Run`` with a queue for each combination of inputs and outputs, that is for each signature."""

    def __init__(self, run: Run, parameters: BatchingParameters, threads: BatchThreads) -> None:
        self._run = run
        self._parameters = parameters
        self._threads = threads
        self._opening = threading.Lock()
        self._queues: dict[tuple[tuple[str, ...], tuple[str, ...]], SignatureQueue] = {}

    def __call__(self, feeds: Feeds, fetches: tuple[str, ...], check_cancelled: CancelCheck) -> list[Tensor]:
        rows = count_rows(feeds)
        queue = self._queue(tuple(feeds), fetches)
        if rows is None or not queue.splits:
            return self._run(feeds, fetches, check_cancelled)
        call = QueuedCall(feeds, rows, check_cancelled, CURRENT_CALL.get())
        if call.measured is not None:
            call.measured.enter_queue(self._parameters.thread_pool_name)
        span = CURRENT_SPAN.get()
        wait = None if span is None else span.begin(WAIT)
        self._threads.enqueue(queue.queue, call, rows)
        call.done.wait()
        if span is not None and wait is not None:
            record_run(span, wait, call)
        if isinstance(call.outcome, Refused):
            raise call.outcome
        return call.outcome or []

    @property
    def queued_rows(self) -> int:
        """Rows of calls that no thread has taken yet."""
        with self._opening:
            queues = tuple(self._queues.values())
        return sum(self._threads.queued_rows(queue.queue) for queue in queues)

    def close(self) -> None:
        for queue in self._queues.values():
            self._threads.remove_queue(queue.queue)

    def _queue(self, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> "SignatureQueue":
        found = self._queues.get((feeds, fetches))
        if found is None:
            with self._opening:
                found = self._queues.get((feeds, fetches))
                if found is None:
                    found = SignatureQueue(self._run, fetches, self._parameters)
                    self._threads.add_queue(found.queue)
                    self._queues[feeds, fetches] = found
        return found


class SignatureQueue:
    """The calls of one signature."""

    def __init__(self, run: Run, fetches: tuple[str, ...], parameters: BatchingParameters) -> None:
        self._run = run
        self._fetches = fetches
        self._padded = parameters.pad_variable_length_inputs
        self._allowed = parameters.allowed_batch_sizes
        self.queue: BatchQueue[QueuedCall] = BatchQueue(parameters, self.process)
        self.splits = True
        """Whether outputs have a row for each input row; once they had not, calls are not joined any more."""

    def process(self, calls: Sequence[QueuedCall]) -> None:
        """Runs a batch; cancelled calls are left out."""
        try:
            self._process(calls)
        except Exception as error:  # the outermost boundary of a batch: its calls get the error, its thread goes on
            log.exception("batch_failed")
            for call in calls:
                if not call.done.is_set():
                    call.finish(wrap_error(error))

    def _process(self, calls: Sequence[QueuedCall]) -> None:
        groups: dict[object, list[QueuedCall]] = {}
        taken = perf_counter()
        for call in calls:
            if call.measured is not None:
                call.measured.leave_queue(taken)
            if _is_waiting(call):
                groups.setdefault(make_batch_key(call.feeds, padded=self._padded), []).append(call)
        for group in groups.values():
            began_ns = time.time_ns()
            outcomes = self._run_joined(group)
            ended_ns = time.time_ns()
            for call, outcome in zip(group, outcomes or map(self._run_alone, group), strict=True):
                call.shared_by, call.began_ns, call.ended_ns = len(group), began_ns, ended_ns
                call.finish(outcome)

    def _run_joined(self, calls: Sequence[QueuedCall]) -> list[list[Tensor]] | None:
        """Each call's outputs of a joint run; None if the calls have to run one by one."""
        sizes = [call.rows for call in calls]
        rows = round_up_size(sum(sizes), self._allowed)
        try:
            note_run(calls, rows, sum(sizes))
            feeds = merge_calls([call.feeds for call in calls], rows, padded=self._padded)
            outputs = self._run(feeds, self._fetches, never_cancelled)
        except Refused:
            return None
        shares = split_outputs(outputs, sizes, rows)
        self.splits = self.splits and shares is not None
        return shares

    def _run_alone(self, call: QueuedCall) -> list[Tensor] | Refused:
        note_run((call,), call.rows, call.rows)
        try:
            return self._run(call.feeds, self._fetches, call.check_cancelled)
        except Refused as refusal:
            return refusal


def note_run(calls: Sequence[QueuedCall], rows: int, own_rows: int) -> None:
    """Notes a run in the first of its calls that is measured: it is counted once."""
    first = next((call.measured for call in calls if call.measured is not None), None)
    if first is not None:
        first.add_run(rows, rows - own_rows)


def record_run(span: Span, wait: Span, call: QueuedCall) -> None:
    """How long a call waited, and the run that it shared, as children of its span."""
    if not call.began_ns:
        wait.end(failed=True)
        return
    wait.end(at_ns=call.began_ns)
    failed = isinstance(call.outcome, Refused)
    span.begin(RUN, {"modelyard.batch.calls": call.shared_by}, at_ns=call.began_ns).end(
        at_ns=call.ended_ns, failed=failed
    )


def _is_waiting(call: QueuedCall) -> bool:
    try:
        call.check_cancelled()
    except Refused as refusal:
        call.finish(refusal)
        return False
    return True
