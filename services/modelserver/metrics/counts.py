"""Counts and times of calls: TensorFlow Serving's names, labels and bounds. A call adds one entry to a queue.

Sources: tensorflow/serving ``servables/tensorflow/util.cc``, ``batching/batching_session.cc`` and
``batching/batching_util.h``; ``util/prometheus_exporter.cc`` has colons for the slashes of names. Times are in
microseconds.
"""

import threading
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter

import grpc

from modelyard.services.modelserver.metrics.call import MeasuredCall

Labels = tuple[str, ...]

PREFIX = ":tensorflow:serving:"
RUNTIME = "TF1"
"""Label ``runtime``: TensorFlow's session, not TFRT."""
OF_EXAMPLES = frozenset({"Classify", "Regress", "MultiInference"})
OK = grpc.StatusCode.OK
US = 1e6
"""Microseconds in a second: TensorFlow Serving's unit."""
MAX_OVER = 128
"""Calls that wait to be counted: one of so many counts them all, for half a millisecond."""
NAMES = {code: code.name for code in grpc.StatusCode}
"""Quicker than an enumeration's own attribute."""


def make_bounds(scale: float, growth: float, count: int) -> Sequence[float]:
    """Upper bounds of buckets, each ``growth`` times the one before; above the last comes one without."""
    return tuple(scale * growth**power for power in range(count))


CALL_BOUNDS = make_bounds(10, 1.8, 33)
QUEUE_BOUNDS = make_bounds(100, 1.2, 52)
EXAMPLE_BOUNDS = make_bounds(1, 2, 15)
ROW_BOUNDS = make_bounds(1, 2, 14)


@dataclass
class Counter:
    """Numbers that grow, by labels."""

    name: str
    meaning: str
    labels: Labels
    cells: dict[Labels, int] = field(default_factory=dict)

    def add(self, labels: Labels, count: int = 1) -> None:
        self.cells[labels] = self.cells.get(labels, 0) + count


@dataclass
class Histogram:
    """Values in buckets, by labels."""

    name: str
    meaning: str
    labels: Labels
    bounds: Sequence[float]
    cells: dict[Labels, list[float]] = field(default_factory=dict)
    """One for each bucket, those above all bounds, and the sum of values."""

    def observe(self, labels: Labels, value: float) -> None:
        cell = self.cells.get(labels)
        if cell is None:
            cell = self.cells[labels] = [0.0] * (len(self.bounds) + 2)
        cell[bisect_left(self.bounds, value)] += 1
        cell[-1] += value


class ServingMetrics:
    """All of one server. ``knows``: whether a model is configured; calls for others share the empty name."""

    def __init__(self, knows: Callable[[str], bool] = lambda _: True) -> None:
        self._knows = knows
        self._lock = threading.Lock()
        self._over: deque[tuple[MeasuredCall, str, str, str, grpc.StatusCode, float]] = deque()
        self._requests = Counter(
            f"{PREFIX}request_count",
            "Calls by gRPC's status; of models that are not configured, without a name.",
            ("model_name", "status"),
        )
        self._request_times = Histogram(
            f"{PREFIX}request_latency",
            "Microseconds of a call that succeeded, within the server.",
            ("model_name", "API", "entrypoint"),
            CALL_BOUNDS,
        )
        self._run_times = Histogram(
            f"{PREFIX}runtime_latency",
            "Microseconds of its run in TensorFlow, with the wait for its batch.",
            ("model_name", "API", "runtime"),
            CALL_BOUNDS,
        )
        self._examples = Histogram(
            f"{PREFIX}request_example_counts",
            "Examples in a call that has any (tf.Example).",
            ("model",),
            EXAMPLE_BOUNDS,
        )
        self._example_total = Counter(f"{PREFIX}request_example_count_total", "All these examples.", ("model",))
        batching = f"{PREFIX}batching_session:"
        self._waits = Histogram(
            f"{batching}queuing_latency",
            "Microseconds that a call waited for its batch.",
            ("thread_pool_name",),
            QUEUE_BOUNDS,
        )
        self._input_rows = Histogram(f"{batching}input_batch_size", "Rows of such a call.", (), ROW_BOUNDS)
        self._batch_rows = Histogram(
            f"{batching}processed_batch_size", "Rows of a batch, those that pad it included.", (), ROW_BOUNDS
        )
        self._padding = Histogram(f"{batching}padding_size", "Rows that pad it.", ("execution_batch_size",), ROW_BOUNDS)
        self._runs = Counter(f"{batching}wrapped_run_count", "Runs of batches.", ())

    @property
    def families(self) -> Sequence[Counter | Histogram]:
        """In the order in which they are shown."""
        return tuple(value for value in vars(self).values() if isinstance(value, Counter | Histogram))

    def add(self, call: MeasuredCall, model: str, api: str, entrypoint: str, code: grpc.StatusCode) -> None:
        """Adds a call that is over; it is counted with many others, which costs each of them less.

        Args:
            call: of which nothing changes any more.
            entrypoint: GRPC; LOCAL within the gateway's process.
        """
        self._over.append((call, model, api, entrypoint, code, perf_counter() - call.began))
        if len(self._over) >= MAX_OVER:
            self._settle()

    def _settle(self) -> None:
        """Counts the calls that are over."""
        with self._lock:
            while self._over:
                self._count(*self._over.popleft())

    def _count(
        self, call: MeasuredCall, model: str, api: str, entrypoint: str, code: grpc.StatusCode, took_s: float
    ) -> None:
        model = model if self._knows(model) else ""
        self._requests.add((model, NAMES[code]))
        if code is OK:
            self._request_times.observe((model, api, entrypoint), took_s * US)
        if call.ran_s is not None:
            self._run_times.observe((model, api, RUNTIME), call.ran_s * US)
            if api in OF_EXAMPLES:
                self._examples.observe((model,), call.rows)
                self._example_total.add((model,), call.rows)
        if call.pool:
            self._count_batch(call)

    def _count_batch(self, call: MeasuredCall) -> None:
        self._input_rows.observe((), call.rows)
        if call.waited_s is not None:
            self._waits.observe((call.pool,), call.waited_s * US)
        for rows, padding in call.runs:
            self._batch_rows.observe((), rows)
            self._padding.observe((str(rows),), padding)
            self._runs.add(())

    def copy(self) -> Sequence[Counter | Histogram]:
        """All of them as they are at one moment, with every call that is over."""
        self._settle()
        with self._lock:
            return tuple(copy_family(each) for each in self.families)


def copy_family(family: Counter | Histogram) -> Counter | Histogram:
    if isinstance(family, Counter):
        return Counter(family.name, family.meaning, family.labels, dict(family.cells))
    cells = {labels: list(cell) for labels, cell in family.cells.items()}
    return Histogram(family.name, family.meaning, family.labels, family.bounds, cells)
