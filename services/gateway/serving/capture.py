"""Captured predictions: a sample of inputs and outputs of the models that are set for it, to which feedback is joined.

Requests wait for nothing: a thread writes what was captured. What would not fit into memory meanwhile is dropped.
"""

import queue
import random
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import structlog

from modelyard.models.errors import StorageFailed
from modelyard.models.types import Array
from modelyard.services.gateway.metrics import Metrics
from modelyard.services.gateway.serving.background_writer import BackgroundWriter
from modelyard.services.gateway.serving.batching import Outputs
from modelyard.services.gateway.serving.interface import Interface, read_classes
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.ledger import Ledger

if TYPE_CHECKING:
    from modelyard.services.ledger.feedback import CapturedPrediction

log = structlog.get_logger()

MAX_PENDING = 1000
MAX_WRITE = 200
WRITE_INTERVAL_S = 0.25
PRUNE_INTERVAL_S = 60.0


class Capture:
    """Samples by request. The thread starts with the first that is captured."""

    def __init__(self, settings: GatewaySettings, metrics: Metrics, ledger: Ledger) -> None:
        self._settings, self._metrics, self._ledger = settings, metrics, ledger
        self.models = frozenset(settings.captured_models)
        """Those of which a sample is captured."""
        self._pending: queue.Queue[CapturedPrediction] = queue.Queue(MAX_PENDING)
        self._writer = BackgroundWriter("capture", WRITE_INTERVAL_S, self._write_and_prune)
        self._writing = threading.Lock()
        self._pruned_at = 0.0

    def sample(self, request_id: str, interface: Interface, inputs: Mapping[str, Array], outputs: Outputs) -> None:
        """Captures a request's rows, if its model is captured and the request is in the sample."""
        if interface.model not in self.models or random.random() >= self._settings.capture_rate:
            return
        for row in captured_rows(request_id, interface, inputs, outputs):
            try:
                self._pending.put_nowait(row)
            except queue.Full:
                self._metrics.capture_dropped.inc()
                return
        self._writer.start()

    def flush(self) -> None:
        """Returns when all that was captured until now is written, or was dropped."""
        self._write()

    def close(self) -> None:
        """Writes what is pending."""
        self._writer.close()

    def _write_and_prune(self) -> None:
        self._write()
        if time.monotonic() - self._pruned_at > PRUNE_INTERVAL_S:
            self._pruned_at = time.monotonic()
            self._prune()

    def _write(self) -> None:
        with self._writing:
            while not self._pending.empty():
                self._store([self._pending.get() for _ in range(min(MAX_WRITE, self._pending.qsize()))])

    def _store(self, rows: "list[CapturedPrediction]") -> None:
        try:
            self._ledger.feedback.capture(rows)
        except StorageFailed as error:
            self._metrics.capture_dropped.inc(len(rows))
            log.warning("captured predictions not written", count=len(rows), cause=str(error))

    def _prune(self) -> None:
        oldest = datetime.now(UTC) - timedelta(days=self._settings.capture_days)
        try:
            self._ledger.feedback.prune(oldest, self._settings.capture_bytes)
        except StorageFailed as error:
            log.warning("old captured predictions not deleted", cause=str(error))


def captured_rows(
    request_id: str, interface: Interface, inputs: Mapping[str, Array], outputs: Outputs
) -> Iterator["CapturedPrediction"]:
    """Each row with its predicted class or number; none of signatures with several inputs."""
    from modelyard.services.ledger.feedback import CapturedPrediction

    predictions = read_predictions(outputs, interface)
    if len(inputs) != 1 or predictions is None:
        return
    ((name, rows),) = inputs.items()
    predicted, scores = predictions
    now = datetime.now(UTC)
    for index in range(min(len(rows), len(predicted))):
        row, score = rows[index], None if scores is None else float(scores[index])
        text = isinstance(row, bytes)
        yield CapturedPrediction(
            request_id=request_id,
            row=index,
            model=interface.model,
            version=outputs.version,
            input=name,
            dtype="bytes" if text else rows.dtype.name,
            shape=() if text else row.shape,
            content=row if text else row.tobytes(),
            predicted=float(predicted[index]),
            score=score,
            at=now,
        )


def read_predictions(outputs: Mapping[str, Array], interface: Interface) -> tuple[Array, Array | None] | None:
    """Classes and their probabilities, or the numbers of a single output; None of anything else."""
    if found := read_classes(outputs, interface.probabilities):
        return found[0], found[1].max(axis=1)
    if len(outputs) == 1:
        (value,) = outputs.values()
        if value.dtype.kind in "if" and value.size == len(value):
            return value.reshape(-1), None
    return None
