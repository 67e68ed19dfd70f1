"""Counts the traffic of each version: requests, errors and times, in slots of five minutes.

Counting is one addition under a lock that nobody holds for long. A thread writes the sums into the ledger
(``serving/canary_counts.py``), where those of all gateways add up.
"""

import bisect
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from modelyard.services.experiment_counts import BOUNDS_S, TRAFFIC_SLOT_S, bucket_name

KEPT_S = 25 * 3600
"""How long a slot stays in memory."""
CLIENT_ERROR, SERVER_ERROR = 400, 500
REQUESTS, ERRORS, REFUSED, FIRST_BUCKET = 0, 1, 2, 3


class Slot(NamedTuple):
    """A version and five minutes."""

    model: str
    version: int
    began: int
    """Seconds since 1970."""


class Traffic:
    """Of all versions that this process answered for. Safe for many threads."""

    def __init__(self) -> None:
        self.begin: Callable[[], None] = lambda: None
        """Called when a slot begins, so that somebody writes it."""
        self._lock = threading.Lock()
        self._counts: dict[Slot, list[int]] = {}
        self._changed: set[Slot] = set()

    def count(self, model: str, version: int, status: int, took_s: float) -> None:
        """Counts a response; a refused request is the client's error, and says nothing of the version's time."""
        slot = Slot(model, version, int(time.time()) // TRAFFIC_SLOT_S * TRAFFIC_SLOT_S)
        with self._lock:
            counts = self._counts.get(slot)
            if counts is None:
                counts = self._open(slot)
            counts[REQUESTS] += 1
            if status >= SERVER_ERROR:
                counts[ERRORS] += 1
            elif status >= CLIENT_ERROR:
                counts[REFUSED] += 1
            else:
                counts[FIRST_BUCKET + bisect.bisect_left(BOUNDS_S, took_s)] += 1
            self._changed.add(slot)

    def _open(self, slot: Slot) -> list[int]:
        for old in [known for known in self._counts if known.began < slot.began - KEPT_S]:
            del self._counts[old]
        counts = self._counts[slot] = [0] * (FIRST_BUCKET + len(BOUNDS_S) + 1)
        self.begin()
        return counts

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
