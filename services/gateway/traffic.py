"""Counts the traffic of each version: requests, errors and times, in slots of five minutes, and since the start.

Counting is a few additions under a lock that nobody holds for long. A thread writes the sums of slots into the ledger
(``serving/canary_counts.py``), where those of all gateways add up; those since the start are metrics.
"""

import bisect
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from modelyard.services.experiment_counts import BOUNDS_S, TRAFFIC_SLOT_S, bucket_name

KEPT_S = 25 * 3600
"""How long a slot stays in memory."""
CLIENT_ERROR, SERVER_ERROR = 400, 500
REQUESTS, ERRORS, REFUSED, FIRST_BUCKET = 0, 1, 2, 3
OUTCOMES = ("answered", "failed", "refused")


class Slot(NamedTuple):
    """A version and five minutes."""

    model: str
    version: int
    began: int
    """Seconds since 1970."""


@dataclass
class Totals:
    """Counts of a version since the process started."""

    counts: list[int]
    answered_s: float = 0.0
    """The times of answers, added up."""


class Traffic:
    """Of all versions that this process answered for. Safe for many threads."""

    def __init__(self) -> None:
        self.begin: Callable[[], None] = lambda: None
        """Called when a slot begins, so that somebody writes it."""
        self._lock = threading.Lock()
        self._counts: dict[Slot, list[int]] = {}
        self._changed: set[Slot] = set()
        self._totals: dict[tuple[str, int], Totals] = {}

    def count(self, model: str, version: int, status: int, took_s: float) -> None:
        """Counts a response; a refused request is the client's error, and says nothing of the version's time."""
        slot = Slot(model, version, int(time.time()) // TRAFFIC_SLOT_S * TRAFFIC_SLOT_S)
        with self._lock:
            counts = self._counts.get(slot)
            if counts is None:
                counts = self._open(slot)
            kind = FIRST_BUCKET + bisect.bisect_left(BOUNDS_S, took_s)
            if status >= CLIENT_ERROR:
                kind = ERRORS if status >= SERVER_ERROR else REFUSED
            totals = self._totals[slot.model, slot.version]
            for counted in (counts, totals.counts):
                counted[REQUESTS] += 1
                counted[kind] += 1
            if kind >= FIRST_BUCKET:
                totals.answered_s += took_s
            self._changed.add(slot)

    def _open(self, slot: Slot) -> list[int]:
        for old in [known for known in self._counts if known.began < slot.began - KEPT_S]:
            del self._counts[old]
        counts = self._counts[slot] = [0] * (FIRST_BUCKET + len(BOUNDS_S) + 1)
        seen = {(known.model, known.version) for known in self._counts}
        self._totals = {version: self._totals.get(version) or Totals(list(counts)) for version in seen}
        self.begin()
        return counts

    def read_totals(self) -> "dict[tuple[str, int], Totals]":
        """Counts since the start, by model and version; of one that was not asked for a day, none are left."""
        with self._lock:
            return {version: Totals(list(known.counts), known.answered_s) for version, known in self._totals.items()}

    def take_changed(self) -> dict[Slot, Counter[str]]:
        """Counts of the slots that have changed since it was last called."""
        with self._lock:
            found = {slot: name_counts(self._counts[slot]) for slot in self._changed if slot in self._counts}
            self._changed.clear()
        return found

    def mark_changed(self, slots: set[Slot]) -> None:
        """Has them taken again: they could not be written."""
        with self._lock:
            self._changed |= slots

    def sum_since(self, began: float) -> dict[tuple[str, int], Counter[str]]:
        """Sums by model and version over slots that ended after this time, in seconds since 1970."""
        found: dict[tuple[str, int], Counter[str]] = {}
        with self._lock:
            for slot, counts in self._counts.items():
                if slot.began > began - TRAFFIC_SLOT_S:
                    found.setdefault((slot.model, slot.version), Counter()).update(name_counts(counts))
        return found


def name_counts(counts: list[int]) -> Counter[str]:
    """By name, as they stand in the ledger; zeros are left out."""
    named = {"requests": counts[REQUESTS], "errors": counts[ERRORS], "refused": counts[REFUSED]}
    named |= {bucket_name(index): count for index, count in enumerate(counts[FIRST_BUCKET:])}
    return Counter({name: count for name, count in named.items() if count})


class TrafficMetrics(Collector):
    """The counts since the start, as metrics."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic

    def describe(self) -> tuple[CounterMetricFamily, HistogramMetricFamily]:
        return (
            CounterMetricFamily(
                "modelyard_gateway_version_requests",
                "Requests to a version, by outcome: answered, refused (the client's error) or failed.",
                labels=("model", "version", "outcome"),
            ),
            HistogramMetricFamily(
                "modelyard_gateway_version_request_seconds",
                "Time from the request's headers to its response, of those that a version answered.",
                labels=("model", "version"),
            ),
        )

    def collect(self) -> Iterator[Metric]:
        """From any thread."""
        requests, seconds = self.describe()
        names = [*map(floatToGoString, BOUNDS_S), "+Inf"]
        for (model, version), known in self._traffic.read_totals().items():
            labels, buckets = [model, str(version)], list(accumulate(known.counts[FIRST_BUCKET:]))
            for outcome, count in zip(OUTCOMES, (buckets[-1], *known.counts[ERRORS:FIRST_BUCKET]), strict=True):
                requests.add_metric([*labels, outcome], count)
            seconds.add_metric(labels, list(zip(names, buckets, strict=True)), known.answered_s)
        yield from (requests, seconds)
