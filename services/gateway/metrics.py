"""Every metric of the gateway, each with its meaning. Label values are bounded: routes as declared, never raw paths."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from modelyard.models.types import Array
from modelyard.services.gateway.request_metrics import RequestMetrics
from modelyard.services.gateway.traffic import Traffic, TrafficMetrics

if TYPE_CHECKING:
    from modelyard.models.registry.serving_config import LeftOutVersion
    from modelyard.services.ledger.observations import Drift

HOLD_BUCKETS_S = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)
ROW_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
TOKEN_FAULTS = ("malformed", "algorithm", "unknown key", "signature", "issuer", "audience", "expired", "early", "name")
KEY_REFUSALS = (
    *("none", "several", "malformed", "unknown", "wrong", "revoked", "expired", "session over"),
    *(f"token {fault}" for fault in TOKEN_FAULTS),
)
"""What may be wrong with a key or an issuer's token.

Each is counted from 0: for Prometheus, what appears with a count has not grown."""
LATENCY_BUCKETS_S = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class LoopHistogram(Collector):
    """A histogram with one label that only the event loop counts in: without a lock, for a tenth of the time."""

    def __init__(self, name: str, meaning: str, label: str, bounds: Sequence[float]) -> None:
        self._name, self._meaning, self._labelnames = name, meaning, (label,)
        self._bounds = tuple(map(float, bounds))
        self._counts: dict[str, list[float]] = {}
        """By value of the label: one for each bucket, those above all bounds, and the sum of values."""

    def observe(self, label: str, value: float) -> None:
        counts = self._counts.get(label)
        if counts is None:
            counts = self._counts[label] = [0.0] * (len(self._bounds) + 2)
        counts[bisect_left(self._bounds, value)] += 1
        counts[-1] += value

    def describe(self) -> Iterator[HistogramMetricFamily]:
        yield HistogramMetricFamily(self._name, self._meaning, labels=self._labelnames)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """From any thread; a value that comes meanwhile is in the next one."""
        (family,) = self.describe()
        for label, (*counts, total) in tuple(self._counts.items()):
            names = [*map(floatToGoString, self._bounds), "+Inf"]
            family.add_metric([label], list(zip(names, accumulate(counts), strict=True)), total)
        yield family


class Metrics:
    """One set per application: what this process does, and what the whole system is known to be, in two registries."""

    def __init__(self) -> None:
        self._prediction_children: dict[tuple[str, int], Counter] = {}
        self.traffic = Traffic()
        self.registry = CollectorRegistry()
        self.gateways: CollectorRegistry | None = None
        self.model_server: Callable[[], bytes] = bytes
        """Renders those of a model server in this process."""
        self.system = CollectorRegistry()
        """Of the ledger and the store: every gateway would say the same."""
        ProcessCollector(namespace="modelyard_gateway", registry=self.registry)
        self.requests = RequestMetrics(LATENCY_BUCKETS_S)
        self.registry.register(self.requests)
        self.loop_holds = Histogram(
            "modelyard_gateway_event_loop_hold_seconds",
            "Times of 0.01 s and more for which the event loop was held, without what it waited for a processor; "
            "each is found longer by at most 0.005 s.",
            buckets=HOLD_BUCKETS_S,
            registry=self.registry,
        )
        self.longest_loop_hold = Gauge(
            "modelyard_gateway_event_loop_longest_hold_seconds",
            "Longest of them in the last one to two minutes; above 0.05 something holds the loop that should not.",
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "modelyard_gateway_requests_in_flight",
            "Requests in progress.",
            registry=self.registry,
        )
        self.predictions = Counter(
            "modelyard_gateway_predictions",
            "Inputs that a version predicted; a batch of ten counts ten.",
            ("model", "version"),
            registry=self.registry,
        )
        self.explanations = Counter(
            "modelyard_gateway_explanations",
            "Inputs whose answers were explained.",
            ("model",),
            registry=self.registry,
        )
        self.atypical_answers = Counter(
            "modelyard_gateway_atypical_answers",
            "Of these, inputs that were unlike those of training; of versions that say so.",
            ("model", "version"),
            registry=self.registry,
        )
        self.cache_lookups = Counter(
            "modelyard_gateway_cache_lookups",
            "Predictions that were looked up in the response cache; hits over all is the hit rate.",
            ("model", "result"),
            registry=self.registry,
        )
        self.cache_bytes = Gauge(
            "modelyard_gateway_cache_bytes",
            "Bytes that cached responses take.",
            registry=self.registry,
        )
        self.capture_dropped = Counter(
            "modelyard_gateway_capture_dropped",
            "Predictions that were not captured for feedback, because the ledger was away or too slow.",
            registry=self.registry,
        )
        self.feedback = Counter(
            "modelyard_gateway_feedback",
            "Feedback on predictions of a version, by what it says of them: right, wrong, or the value of a number.",
            ("model", "version", "outcome"),
            registry=self.registry,
        )
        self.refused_keys = Counter(
            "modelyard_gateway_refused_keys",
            "Requests without a valid API key or token, by reason.",
            ("reason",),
            registry=self.registry,
        )
        for reason in KEY_REFUSALS:
            self.refused_keys.labels(reason)
        self.keys_age = Gauge(
            "modelyard_gateway_keys_age_seconds",
            "Time since the API keys were last read from the ledger; 0 where there are none.",
            registry=self.registry,
        )
        self.drift = Gauge(
            "modelyard_drift_psi",
            "Population stability index of the stable version's inputs and outputs, against training.",
            ("model", "version", "series"),
            registry=self.system,
        )
        self.failed_versions = Gauge(
            "modelyard_gateway_failed_versions",
            "1 for each version that should answer and cannot be loaded, such as one that is damaged on disk.",
            ("model", "version"),
            registry=self.registry,
        )
        self.left_out = Gauge(
            "modelyard_left_out_versions",
            "Versions that model servers are not told to load, because their files are damaged or gone; of a damaged "
            "rollout the version is empty.",
            ("model", "version"),
            registry=self.system,
        )
        self.workers = Gauge(
            "modelyard_workers",
            "Live workers that take jobs of a queue; none are shown where nobody trains.",
            ("queue",),
            registry=self.system,
        )
        self.waiting_jobs = Gauge(
            "modelyard_waiting_jobs",
            "Jobs that no worker runs, by the devices to train on.",
            ("devices",),
            registry=self.system,
        )
        self.jobs_without_worker = Gauge(
            "modelyard_jobs_without_worker",
            "Waiting jobs that no live worker can take.",
            ("devices",),
            registry=self.system,
        )
        self.serving_errors = Counter(
            "modelyard_gateway_serving_errors",
            "Failed calls to the model servers of a pool, by gRPC code; a retried call counts twice.",
            ("pool", "code"),
            registry=self.registry,
        )
        self.serving_retries = Counter(
            "modelyard_gateway_serving_retries",
            "Predictions that were retried.",
            ("pool",),
            registry=self.registry,
        )

        self.call_seconds = LoopHistogram(
            "modelyard_gateway_call_seconds",
            "Time of a call to the model server that ran a model; one call may hold the rows of several requests.",
            "model",
            LATENCY_BUCKETS_S,
        )
        self.call_rows = LoopHistogram(
            "modelyard_gateway_call_rows", "Rows in such a call: the size of a batch.", "model", ROW_BUCKETS
        )
        self.version_requests = TrafficMetrics(self.traffic)
        for collector in (self.call_seconds, self.call_rows, self.version_requests):
            self.registry.register(collector)
        self.call_errors = Counter(
            "modelyard_gateway_call_errors",
            "Such calls that failed, retries included in one.",
            ("model",),
            registry=self.registry,
        )
        self.waiting_requests = Gauge(
            "modelyard_gateway_waiting_requests",
            "Predictions that wait until their rows can be sent to the model server.",
            registry=self.registry,
        )
        self.replica_calls = Gauge(
            "modelyard_gateway_replica_calls",
            "Calls in progress, by the pool and the address of the model server.",
            ("pool", "replica"),
            registry=self.registry,
        )
        self.replica_reachable = Gauge(
            "modelyard_gateway_replica_reachable",
            "0 if the last call did not reach this model server.",
            ("pool", "replica"),
            registry=self.registry,
        )

    def render(self) -> bytes:
        """All of them in Prometheus' text format."""
        return generate_latest(self.gateways or self.registry) + generate_latest(self.system) + self.model_server()

    def show(self, gateways: Collector) -> None:
        """Shows these in place of its own: of all gateways that share a port."""
        self.gateways = CollectorRegistry()
        self.gateways.register(gateways)

    def count_request(self, route: str, method: str, status: int, took_s: float) -> None:
        """Counts one request."""
        self.requests.count(route, method, status, took_s)

    def count_refused(self, route: str, method: str, status: int) -> None:
        """Counts a request that was refused before it was read; its time would say that requests are quick."""
        self.requests.count(route, method, status, None)

    def count_call(self, model: str, rows: int | None, took_s: float) -> None:
        """Counts one call to the model server that ran a model; ``rows`` as far as they are known."""
        self.call_seconds.observe(model, took_s)
        if rows is not None:
            self.call_rows.observe(model, rows)

    def set_drift(self, drifts: "Iterable[Drift]") -> None:
        """Sets the drift that a scheduler measured last, and clears earlier values."""
        self.drift.clear()
        for drift in drifts:
            for name, shift in drift.shifts.items():
                self.drift.labels(drift.model, drift.version, name).set(shift["psi"] or 0.0)

    def set_left_out(self, versions: "Iterable[LeftOutVersion]") -> None:
        """Sets the versions that are left out of the model servers' configuration, and clears earlier ones."""
        self.left_out.clear()
        for each in versions:
            self.left_out.labels(each.model, each.version or "").set(1)

    def set_queue(self, numbers: tuple[Mapping[str, int], Mapping[str, int], Mapping[str, int]] | None) -> None:
        """Sets workers by queue, waiting jobs by devices, and those without a worker; clears earlier values."""
        gauges = (self.workers, self.waiting_jobs, self.jobs_without_worker)
        for gauge in gauges:
            gauge.clear()
        for gauge, found, usual in zip(gauges, numbers or (), ("train.cpu", "auto", "auto"), strict=False):
            for name, number in (found or {usual: 0}).items():
                gauge.labels(name).set(number)

    def count_predictions(self, model: str, version: int, rows: int, typical: Array | None = None) -> None:
        """Counts the rows that a version predicted, and those of them that were not typical, bool [n]."""
        key = (model, version)
        if key not in self._prediction_children:
            self._prediction_children[key] = self.predictions.labels(*key)
        self._prediction_children[key].inc(rows)
        if typical is not None and typical.dtype.kind == "b" and not typical.all():
            self.atypical_answers.labels(*key).inc(typical.size - int(typical.sum()))
