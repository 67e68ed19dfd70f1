"""Keeps a sample of answers with what they were given to, where somebody asked for that: feedback is joined to them.

Callers wait for nothing: a thread writes what has gathered. What would not fit into memory meanwhile is left out.
"""

import queue
import random
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import structlog

from modelyard.models.errors import StorageFailed
from modelyard.models.types import Array
from modelyard.services.gateway.codecs import labels
from modelyard.services.gateway.metrics import Metrics
from modelyard.services.gateway.serving.background_writer import Writer
from modelyard.services.gateway.serving.batching import Outputs
from modelyard.services.gateway.serving.interface import Interface
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.ledger import Ledger

if TYPE_CHECKING:
    from modelyard.services.ledger.feedback import Answer

log = structlog.get_logger()

MOST_WAITING = 1000
MOST_AT_ONCE = 200
WRITE_S = 1.0
PRUNE_S = 60.0


class Capture:
    """Samples by request. The thread starts with the first that is kept."""

    def __init__(self, settings: GatewaySettings, metrics: Metrics, ledger: Ledger) -> None:
        self._settings, self._metrics, self._ledger = settings, metrics, ledger
        self.models = frozenset(settings.capture)
        """Those of which a sample is kept."""
        self._waiting: queue.Queue[Answer] = queue.Queue(MOST_WAITING)
        self._writer = Writer("capture", WRITE_S, self._write_and_prune)
        self._pruned_at = 0.0

    def keep(self, request_id: str, interface: Interface, inputs: Mapping[str, Array], outputs: Outputs) -> None:
        """Keeps a request's rows, if its model is one of those and chance wants it."""
        if interface.model not in self.models or random.random() >= self._settings.capture_rate:
            return
        for answer in answers_of(request_id, interface, inputs, outputs):
            try:
                self._waiting.put_nowait(answer)
            except queue.Full:
                self._metrics.capture_left_out.inc()
                return
        self._writer.start()

    def close(self) -> None:
        """Writes what waits."""
        self._writer.close()

    def _write_and_prune(self) -> None:
        self._write()
        if time.monotonic() - self._pruned_at > PRUNE_S:
            self._pruned_at = time.monotonic()
            self._prune()

    def _write(self) -> None:
        while not self._waiting.empty():
            answers = [self._waiting.get() for _ in range(min(MOST_AT_ONCE, self._waiting.qsize()))]
            try:
                self._ledger.feedback.keep(answers)
            except StorageFailed as error:
                self._metrics.capture_left_out.inc(len(answers))
                log.warning("answers not kept", count=len(answers), cause=str(error))

    def _prune(self) -> None:
        oldest = datetime.now(UTC) - timedelta(days=self._settings.capture_days)
        try:
            self._ledger.feedback.prune(oldest, self._settings.capture_bytes)
        except StorageFailed as error:
            log.warning("old answers not let go of", cause=str(error))


def answers_of(
    request_id: str, interface: Interface, inputs: Mapping[str, Array], outputs: Outputs
) -> Iterator["Answer"]:
    """Each row with the class, or the number, that it was answered with; none of signatures with several inputs."""
    from modelyard.services.ledger.feedback import Answer

    said = said_of(outputs)
    if len(inputs) != 1 or said is None:
        return
    ((name, rows),) = inputs.items()
    predicted, scores = said
    now = datetime.now(UTC)
    for index in range(min(len(rows), len(predicted))):
        row, score = rows[index], None if scores is None else float(scores[index])
        text = isinstance(row, bytes)
        yield Answer(
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


def said_of(outputs: Mapping[str, Array]) -> tuple[Array, Array | None] | None:
    """Classes and their probabilities, or the numbers of a single output; None of anything else."""
    if labels.CLASS_ID in outputs and labels.PROBABILITIES in outputs:
        return outputs[labels.CLASS_ID], outputs[labels.PROBABILITIES].max(axis=1)
    if len(outputs) == 1:
        (value,) = outputs.values()
        if value.dtype.kind in "if" and value.size == len(value):
            return value.reshape(-1), None
    return None
