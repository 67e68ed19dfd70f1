"""Counts and times of requests, for Prometheus: one lock, where its client's own classes take one for each number."""

import threading
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class RequestMetrics(Collector):
    """By route, method and status; times by route. Safe for many threads."""

    def __init__(self, bounds_s: Sequence[float]) -> None:
        self._bounds_s = tuple(map(float, bounds_s))
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, str, int], int] = {}
        self._times: dict[str, list[float]] = {}
        """By route: one for each bucket, those above all bounds, and the sum."""

    def count(self, route: str, method: str, status: int, took_s: float | None) -> None:
        """Counts a response, and how long it took, unless that says nothing."""
        key = (route, method, status)
        with self._lock:
            self._counts[key] = self._counts.get(key, 0) + 1
            if took_s is None:
                return
            times = self._times.get(route)
            if times is None:
                times = self._times[route] = [0.0] * (len(self._bounds_s) + 2)
            times[bisect_left(self._bounds_s, took_s)] += 1
            times[-1] += took_s

    def describe(self) -> tuple[CounterMetricFamily, HistogramMetricFamily]:
        return (
            CounterMetricFamily(
                "modelyard_gateway_requests",
                "Responses sent; of requests that are refused before they are read, too.",
                labels=("route", "method", "status"),
            ),
            HistogramMetricFamily(
                "modelyard_gateway_request_seconds",
                "Time from the request's headers to its response, of those that were read.",
                labels=("route",),
            ),
        )

    def collect(self) -> Iterator[Metric]:
        """From any thread."""
        counted, timed = self.describe()
        with self._lock:
            counts, times = dict(self._counts), {route: list(found) for route, found in self._times.items()}
        for (route, method, status), count in counts.items():
            counted.add_metric((route, method, str(status)), count)
        names = [*map(floatToGoString, self._bounds_s), "+Inf"]
        for route, (*buckets, total_s) in times.items():
            timed.add_metric((route,), list(zip(names, accumulate(buckets), strict=True)), total_s)
        yield from (counted, timed)
