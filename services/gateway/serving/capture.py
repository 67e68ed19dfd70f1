"""Captured predictions: a sample of inputs and outputs of the models that are set for it, to which feedback is joined.

Requests wait for nothing: a thread writes what was captured. What would not fit into memory meanwhile is dropped.
"""

import queue
import random
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog

from modelyard.models.errors import StorageFailed
from modelyard.models.registry.inputs.captured_input import DTYPE, encode_row
from modelyard.models.types import Array
from modelyard.services.gateway.http.headers import CAPTURE_HEADER, Headers
from modelyard.services.gateway.metrics import Metrics
from modelyard.services.gateway.serving.background_writer import BackgroundWriter
from modelyard.services.gateway.serving.batching.calls import Outputs
from modelyard.services.gateway.serving.interface import (
    PROBABILITIES,
    TEXT,
    VALUE,
    Interface,
    is_uncertainty,
    read_classes,
)
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.ledger import Ledger

if TYPE_CHECKING:
    from modelyard.services.ledger.feedback import CapturedPrediction

log = structlog.get_logger()

MAX_PENDING = 1000
MAX_WRITE = 200
WRITE_INTERVAL_S = 0.25
PRUNE_INTERVAL_S = 60.0
MATRIX = 2


class Capture:
    """Samples by request. The thread starts with the first that is captured."""

    def __init__(self, settings: GatewaySettings, metrics: Metrics, ledger: Ledger) -> None:
        self._settings, self._metrics, self._ledger = settings, metrics, ledger
        self.models = frozenset(settings.captured_models)
        """Those of which a sample is captured."""
        self.rate = settings.capture_rate
        """Size of the sample."""
        self._pending: queue.Queue[CapturedPrediction] = queue.Queue(MAX_PENDING)
        self._writer = BackgroundWriter("capture", WRITE_INTERVAL_S, self._write_and_prune)
        self._writing = threading.Lock()
        self._pruned_at = 0.0

    def sample(
        self, request_id: str, interface: Interface, inputs: Mapping[str, Array], outputs: Outputs, headers: Headers
    ) -> None:
        """Captures a request's rows, if its model is captured and the request is in the sample, or asks to be.

        Args:
            headers: of the request; ``X-Capture`` says ``no``, or ``yes`` whatever the rate is.
        """
        if interface.model not in self.models or not self._is_wanted(headers.get(CAPTURE_HEADER)):
            return
        for row in captured_rows(request_id, interface, inputs, outputs):
            try:
                self._pending.put_nowait(row)
            except queue.Full:
                self._metrics.capture_dropped.inc()
                return
        self._writer.start()

    def _is_wanted(self, said: str | None) -> bool:
        return said == "yes" or (said != "no" and random.random() < self.rate)

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
    """Each row with its predicted class or number; none of outputs that are neither."""
    from modelyard.services.ledger.feedback import CapturedPrediction

    predictions = read_predictions(outputs, interface)
    if predictions is None or not inputs or any(not array.shape for array in inputs.values()):
        return
    predicted, scores = predictions
    margins = read_margins(outputs, interface)
    now = datetime.now(UTC)
    for index in range(min(len(predicted), *map(len, inputs.values()))):
        yield CapturedPrediction(
            request_id=request_id,
            row=index,
            model=interface.model,
            version=outputs.version,
            **describe_row(inputs, index),
            predicted=float(predicted[index]),
            score=None if scores is None else float(scores[index]),
            at=now,
            margin=None if margins is None else float(margins[index]),
        )


def describe_row(inputs: Mapping[str, Array], index: int) -> dict[str, Any]:
    """One row of the only input, or of several as JSON: ``input``, ``dtype``, ``shape`` and ``content``."""
    if len(inputs) > 1:
        return {"input": "", "dtype": DTYPE, "shape": (), "content": encode_row(inputs, index)}
    ((name, rows),) = inputs.items()
    row = rows[index]
    if isinstance(row, bytes):
        return {"input": name, "dtype": "bytes", "shape": (), "content": row}
    return {"input": name, "dtype": rows.dtype.name, "shape": row.shape, "content": row.tobytes()}


def read_margins(outputs: Mapping[str, Array], interface: Interface) -> Array | None:
    """By how much the likeliest class is ahead of the next, float ``[n]``; None of outputs that are no classes."""
    found = read_classes(outputs, interface.probabilities)
    if found is None or found[1].ndim != MATRIX or found[1].shape[1] < MATRIX:
        return None
    best: Array = np.partition(found[1], -2, axis=1)[:, -2:]
    return np.diff(best, axis=1)[:, 0]


def read_predictions(outputs: Mapping[str, Array], interface: Interface) -> tuple[Array, Array | None] | None:
    """Classes and their probabilities, or the numbers of a single output; None of anything else.

    Of several labels it is the likeliest, of several numbers the first, of a text its length.
    """
    if found := read_classes(outputs, interface.probabilities):
        return found[0], found[1].max(axis=1)
    several = outputs.get(PROBABILITIES)
    if several is not None and several.ndim == MATRIX and several.size:
        return several.argmax(axis=1), several.max(axis=1)
    own = {name: value for name, value in outputs.items() if not is_uncertainty(name)}
    if len(own) != 1:
        return None
    ((name, value),) = own.items()
    if name == TEXT and value.dtype == object and value.ndim == 1:
        return np.array([len(text.decode(errors="replace")) for text in value]), None
    if name == VALUE and value.ndim == MATRIX and value.size:
        value = value[:, 0]
    return (value.reshape(-1), None) if value.dtype.kind in "if" and value.size == len(value) else None
