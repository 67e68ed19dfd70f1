"""The metrics in Prometheus' text format. The one file here that imports prometheus_client."""

import re
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from modelyard.services.modelserver.metrics.counts import Counter, Histogram, ServingMetrics

NAMESPACE = "modelyard_modelserver"
COUNTER_HEAD = re.compile(rb"^(# (?:HELP|TYPE) :\S+)_total ", re.MULTILINE)
"""prometheus_client ends the names of counters in ``_total``; TensorFlow Serving's are what they are."""


class Page(Collector):
    """What is shown at one address."""

    def __init__(self, metrics: ServingMetrics, *, with_process: bool) -> None:
        """``with_process``: shows CPU seconds, memory and open files, too."""
        self._metrics = metrics
        self._registry = CollectorRegistry()
        self._registry.register(self)
        if with_process:
            ProcessCollector(namespace=NAMESPACE, registry=self._registry)

    def describe(self) -> Iterator[Metric]:
        yield from map(describe_family, self._metrics.families)

    def collect(self) -> Iterator[Metric]:
        """From any thread."""
        for family in self._metrics.copy():
            shown = describe_family(family)
            shown.samples += sample_counter(family) if isinstance(family, Counter) else sample_histogram(family)
            yield shown

    def render(self) -> bytes:
        return COUNTER_HEAD.sub(rb"\1 ", generate_latest(self._registry))


def describe_family(family: Counter | Histogram) -> Metric:
    """Without samples."""
    return Metric(family.name, family.meaning, "counter" if isinstance(family, Counter) else "histogram")


def sample_counter(family: Counter) -> Iterator[Sample]:
    for values, count in family.cells.items():
        yield Sample(family.name, dict(zip(family.labels, values, strict=True)), count)


def sample_histogram(family: Histogram) -> Iterator[Sample]:
    """Bounds have six digits, as TensorFlow Serving writes them."""
    names = [*(f"{bound:g}" for bound in family.bounds), "+Inf"]
    for values, (*buckets, total) in family.cells.items():
        labels = dict(zip(family.labels, values, strict=True))
        for name, count in zip(names, accumulate(buckets), strict=True):
            yield Sample(f"{family.name}_bucket", {**labels, "le": name}, count)
        yield Sample(f"{family.name}_sum", labels, total)
        yield Sample(f"{family.name}_count", labels, sum(buckets))
