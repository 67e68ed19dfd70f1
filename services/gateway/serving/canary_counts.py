"""Counts outcomes of predictions while a model has a canary or a shadow; writes them, and traffic, into the ledger.

Predictions never wait for the ledger. Each gateway writes its own sums, so nothing is counted twice; canary
analysis adds them up.
"""

import bisect
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Awaitable
from datetime import datetime
from typing import NamedTuple, TypeVar

import structlog

from modelyard.models.errors import ModelyardError, StorageFailed
from modelyard.services.experiment_counts import BOUNDS_S, Role, bucket_name
from modelyard.services.gateway.serving.background_writer import BackgroundWriter
from modelyard.services.gateway.serving.interface import Interface
from modelyard.services.gateway.traffic import Traffic
from modelyard.services.ledger import Ledger

log = structlog.get_logger()

WRITE_INTERVAL_S = 2.0
SERVER_ERROR = 500
Result = TypeVar("Result")


def name_gateway() -> str:
    """A name of its own for each process, also after it was started again."""
    return f"{socket.gethostname()}-{os.getpid()}-{os.urandom(2).hex()}"


class CountKey(NamedTuple):
    """An experiment and one of its versions: the key of counts."""

    model: str
    role: Role
    version: int
    since: datetime
    """When the experiment began."""


class CanaryCounts:
    """Counts; a thread that writes them starts with the first."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._gateway = name_gateway()
        self._lock = threading.Lock()
        self._counts: dict[CountKey, Counter[str]] = {}
        self._changed: set[CountKey] = set()
        self._writer = BackgroundWriter("canary-counts", WRITE_INTERVAL_S, self._write)

    async def watch(self, interface: Interface, call: Awaitable[Result]) -> Result:
        """Awaits the call, and counts how long it took or that the model failed."""
        canary = interface.experiment.canary if interface.experiment else None
        if canary is None:
            return await call
        role: Role = "canary" if interface.version == canary.version else "stable"
        key, started = CountKey(interface.model, role, interface.version, canary.since), time.perf_counter()
        try:
            result = await call
        except ModelyardError as error:
            if error.status >= SERVER_ERROR:  # the others are the client's
                self.count(key, answers=1, errors=1)
            raise
        took_s = time.perf_counter() - started
        self.count(key, answers=1, **{bucket_name(bisect.bisect_left(BOUNDS_S, took_s)): 1})
        return result

    def count(self, key: CountKey, **amounts: float) -> None:
        """Adds to what has been counted."""
        with self._lock:
            counts = self._counts.setdefault(key, Counter())
            for name, amount in amounts.items():
                counts[name] += amount  # type: ignore[assignment]  # a Counter adds up any numbers
            self._changed.add(key)
        self._writer.start()

    def close(self) -> None:
        """Writes what has been counted since."""
        self._writer.close()

    def _write(self) -> None:
        with self._lock:
            changed = {key: dict(self._counts[key]) for key in self._changed}
            self._changed.clear()
        try:
            for key, counts in changed.items():
                self._ledger.observations.put_counts(*key, self._gateway, counts)
        except StorageFailed as error:
            log.warning("observations not written; retried later", cause=str(error))
            with self._lock:
                self._changed |= changed.keys()


class TrafficWriter:
    """Writes the traffic of versions; its thread starts with the first prediction."""

    def __init__(self, traffic: Traffic, ledger: Ledger, interval_s: float) -> None:
        self.traffic, self.gateway = traffic, name_gateway()
        self._ledger, self._failing = ledger, False
        self._writer = BackgroundWriter("traffic", interval_s, self._write)
        if interval_s:
            traffic.begin = self._writer.start

    def close(self) -> None:
        """Writes what has been counted since."""
        self._writer.close()

    def _write(self) -> None:
        if not self._ledger.exists():
            return  # nothing but predictions was ever asked for here: this process alone knows
        changed = self.traffic.take_changed()
        try:
            for slot, counts in changed.items():
                self._ledger.observations.put_traffic(slot.model, slot.version, self.gateway, slot.began, counts)
            self._failing = False
        except StorageFailed as error:
            self.traffic.mark_changed(set(changed))
            if not self._failing:
                log.warning("traffic not written; retried later", cause=str(error))
            self._failing = True
