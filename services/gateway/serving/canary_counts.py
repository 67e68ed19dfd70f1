"""What is observed while a model has a canary or a shadow: counted here, written into the ledger every few seconds.

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
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import structlog

from modelyard.models.errors import ModelyardError, StorageFailed
from modelyard.models.registry.rollout import Rollout
from modelyard.services.gateway.serving.background_writer import BackgroundWriter
from modelyard.services.gateway.serving.interface import Interface
from modelyard.services.trials import BOUNDS_S, Role, bucket

if TYPE_CHECKING:
    from modelyard.services.ledger.observations import Drift, Observations

log = structlog.get_logger()

WRITE_INTERVAL_S = 2.0
SERVER_ERROR = 500
Result = TypeVar("Result")


class Key(NamedTuple):
    """What is counted together."""

    model: str
    role: Role
    version: int
    since: datetime
    """When the experiment began."""


class CanaryCounts:
    """Counts; a thread that writes them starts with the first."""

    def __init__(self, ledger_url: str) -> None:
        self._url = ledger_url
        self._gateway = f"{socket.gethostname()}-{os.getpid()}-{os.urandom(2).hex()}"
        self._lock = threading.Lock()
        self._counts: dict[Key, Counter[str]] = {}
        self._changed: set[Key] = set()
        self._writer = BackgroundWriter("canary-counts", WRITE_INTERVAL_S, self._write)

    @cached_property
    def _observations(self) -> "Observations":
        from modelyard.services.ledger.observations import Observations

        return Observations(self._url)

    async def watch(self, interface: Interface, call: Awaitable[Result]) -> Result:
        """Awaits the call, and counts how long it took or that the model failed."""
        canary = interface.experiment.canary if interface.experiment else None
        if canary is None:
            return await call
        role: Role = "canary" if interface.version == canary.version else "stable"
        key, started = Key(interface.model, role, interface.version, canary.since), time.perf_counter()
        try:
            result = await call
        except ModelyardError as error:
            if error.status >= SERVER_ERROR:  # the others are the client's
                self.count(key, answers=1, errors=1)
            raise
        took_s = time.perf_counter() - started
        self.count(key, answers=1, **{bucket(bisect.bisect_left(BOUNDS_S, took_s)): 1})
        return result

    def count(self, key: Key, **amounts: float) -> None:
        """Adds to what has been counted."""
        with self._lock:
            counts = self._counts.setdefault(key, Counter())
            for name, amount in amounts.items():
                counts[name] += amount  # type: ignore[assignment]  # a Counter adds up any numbers
            self._changed.add(key)
        self._writer.start()

    def read_counts(self, model: str, rollout: Rollout) -> dict[str, Any] | None:
        """What all gateways counted of the model's canary and shadow, and the evidence; None if the ledger is away."""
        try:
            found: dict[str, Any] = {}
            if rollout.canary:
                sums = self._observations.sums(model, rollout.canary.since)
                _, state = self._observations.verdict(model, rollout.canary.since)
                found |= {role: sums.get(role, {}) for role in ("stable", "canary")} | {"judge": state.get("said")}
            if rollout.shadow:
                found |= {"shadow": self._observations.sums(model, rollout.shadow.since).get("shadow", {})}
        except StorageFailed:
            return None
        return found or None

    def drift(self, model: str | None = None) -> "tuple[Drift, ...]":
        """What a scheduler found last; raises ``StorageFailed``."""
        return self._observations.drift(model)

    def close(self) -> None:
        """Writes what has been counted since."""
        self._writer.close()
        if self._writer.started:
            self._observations.close()

    def _write(self) -> None:
        with self._lock:
            changed = {key: dict(self._counts[key]) for key in self._changed}
            self._changed.clear()
        try:
            for key, counts in changed.items():
                self._observations.put(*key, self._gateway, counts)
        except StorageFailed as error:
            log.warning("observations not written; they will be", cause=str(error))
            with self._lock:
                self._changed |= changed.keys()
