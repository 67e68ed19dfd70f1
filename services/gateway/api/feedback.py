"""``POST /api/feedback``: the truth about an earlier prediction; and which version made one, from which data."""

import math
import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Literal, Self

from flask import Blueprint
from pydantic import BaseModel, ConfigDict, Field, model_validator

from modelyard.models.errors import ModelyardError
from modelyard.models.registry.manifest import DataRecord, Manifest
from modelyard.models.registry.store import Store
from modelyard.services.experiment_counts import Choice
from modelyard.services.gateway.auth.principal import current_client, current_principal
from modelyard.services.gateway.http.errors import InvalidRequest
from modelyard.services.gateway.http.json_body import Body
from modelyard.services.gateway.http.operation import json_view
from modelyard.services.gateway.metrics import Metrics
from modelyard.services.gateway.serving.capture import WRITE_INTERVAL_S, Capture
from modelyard.services.ledger import Ledger

if TYPE_CHECKING:
    from modelyard.services.ledger.feedback import CapturedPrediction

MAX_ID = 64
WRITTEN_AFTER_S = 4 * WRITE_INTERVAL_S
"""When every gateway has written what it answered until now."""
POLL_INTERVAL_S = 0.1
CLASSIFYING = ("binary", "multiclass", "multilabel")
"""Tasks whose predictions are classes."""
LISTED: tuple[Choice, ...] = ("random", "margin", "disagreement")
"""Choices that are made by listing captured predictions in an order."""
MAX_WAITERS = 2
"""Requests that wait at the same time: each holds one of the few threads that probes need too."""


class FeedbackRequest(BaseModel):
    """The truth about one row of an earlier request: a label, by name or number, or a value."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    request_id: str = Field(min_length=1, max_length=MAX_ID)
    row: int = Field(0, ge=0, le=10_000)
    label: str | int | None = None
    value: float | None = None
    chosen: Choice = Field(
        "outcome",
        description="Why this prediction: only outcome and random count for a canary and for quality, as others were "
        "chosen by what the model said.",
    )

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.label is None) == (self.value is None):
            raise ValueError("expected one of label and value")
        return self


class FeedbackResponse(Body):
    """The version that predicted, and whether it was right; null for numbers."""

    model: str
    version: int
    right: bool | None


class PredictionOrigin(Body):
    """Where a prediction came from."""

    request_id: str
    at: datetime
    model: str
    version: int
    predicted: str | float
    data: DataRecord | None
    job: str | None


class NotWritten(ModelyardError):
    """A prediction that another gateway may not have written yet."""

    status = 503


class CapturedPredictions:
    """Finds captured predictions, those of the last moments too: every gateway writes its own a little later."""

    def __init__(self, ledger: Ledger, capture: Capture) -> None:
        self._ledger, self._capture = ledger, capture
        self._waiters = threading.BoundedSemaphore(MAX_WAITERS)

    def find(self, request_id: str, row: int = 0) -> "CapturedPrediction":
        """One that the principal may see. An id that nobody knows is waited for, as long as gateways take to write.

        Raises:
            UnknownPrediction: it was not captured, or is too old.
            NotWritten: nobody knows it, and enough others are waited for.
        """
        models = current_principal().visible_models

        def get() -> "CapturedPrediction":
            return self._ledger.feedback.get_prediction(request_id, row, models)

        found = find_or_none(get)
        if found is None and self._capture.models:
            self._capture.flush()
            found = find_or_none(get) or self._await(get)
        return found or get()

    def _await(self, get: "Callable[[], CapturedPrediction]") -> "CapturedPrediction | None":
        if not self._waiters.acquire(blocking=False):
            raise NotWritten("the prediction is not known yet; try again in a moment")
        deadline, found = time.monotonic() + WRITTEN_AFTER_S, None
        try:
            while found is None and time.monotonic() < deadline:
                time.sleep(POLL_INTERVAL_S)
                found = find_or_none(get)
        finally:
            self._waiters.release()
        return found


def find_or_none(get: "Callable[[], CapturedPrediction]") -> "CapturedPrediction | None":
    """None where ``get`` raises ``UnknownPrediction``."""
    from modelyard.services.ledger.feedback import UnknownPrediction

    try:
        return get()
    except UnknownPrediction:
        return None


def routes(store: Store, ledger: Ledger, capture: Capture, metrics: Metrics) -> Blueprint:
    """The views."""
    views, captured = Blueprint("feedback", __name__), CapturedPredictions(ledger, capture)

    @views.post("/api/feedback")
    @json_view(status=201, errors=(404, 409))
    def record_feedback(body: FeedbackRequest) -> FeedbackResponse:
        """Send the truth about a captured prediction."""
        answer = captured.find(body.request_id, body.row)
        manifest = store.manifest(answer.model, answer.version)
        truth = find_truth(body, manifest)
        check_choice(ledger, answer, body.chosen)
        right = None if answers_with_number(manifest) else truth == answer.predicted
        ledger.feedback.record_truth(answer, truth, right=right, client=current_client(), chosen=body.chosen)
        metrics.feedback.labels(answer.model, answer.version, name_outcome(right)).inc()
        return FeedbackResponse(model=answer.model, version=answer.version, right=right)

    @views.get("/api/answers/<request_id>")
    @json_view(errors=(404,))
    def get_origin(request_id: str) -> PredictionOrigin:
        """Read which version made a captured prediction, and the data that it was trained on."""
        answer = captured.find(request_id[:MAX_ID])
        manifest = store.manifest(answer.model, answer.version)
        return PredictionOrigin(
            request_id=request_id,
            at=answer.at,
            model=answer.model,
            version=answer.version,
            predicted=name_class(answer.predicted, manifest),
            data=manifest.data,
            job=manifest.job,
        )

    return views


def check_choice(ledger: Ledger, answer: "CapturedPrediction", chosen: Choice) -> None:
    """Raises ``InvalidRequest`` for what cannot have been chosen so: each order takes from a half of its own."""
    if chosen not in LISTED or ledger.labels.is_drawn_from(answer) == (chosen == "random"):
        return
    half = "is not of the half that is drawn from" if chosen == "random" else "is kept for drawing at random"
    raise InvalidRequest(
        f"chosen: received {chosen!r}, but this prediction {half}; label what GET /api/models/{answer.model}/answers "
        "lists in this order, or say hand"
    )


def answers_with_number(manifest: Manifest) -> bool:
    """Whether a captured prediction is a number, not a class."""
    return manifest.task == "regression" or not manifest.labels


def name_outcome(right: bool | None) -> str:
    """As metrics have it."""
    return "value" if right is None else "right" if right else "wrong"


def find_feedback_kind(manifest: Manifest) -> Literal["class", "number"] | None:
    """What feedback on this version is; None where it answers with something else, which takes none."""
    if manifest.task not in ("binary", "multiclass", "regression") or (
        manifest.task == "regression" and len(manifest.labels) > 1
    ):
        return None
    return "number" if answers_with_number(manifest) else "class"


def find_truth(feedback: FeedbackRequest, manifest: Manifest) -> float:
    """The class by its name or number, or the value.

    Raises:
        InvalidRequest: this model has no such class, or answers with the other kind, or with neither.
    """
    kind = find_feedback_kind(manifest)
    if kind is None:
        raise InvalidRequest(
            f"feedback is one class or one number, and {manifest.model} answers with something else; "
            "train on corrected data instead"
        )
    if kind == "number":
        if feedback.value is None or not math.isfinite(feedback.value):
            raise InvalidRequest(f"{manifest.model} answers with a number: expected a finite value")
        return feedback.value
    names = manifest.labels
    if feedback.label in names:
        return float(names.index(str(feedback.label)))
    if isinstance(feedback.label, int) and 0 <= feedback.label < len(names):
        return float(feedback.label)
    received = feedback.value if feedback.label is None else feedback.label
    raise InvalidRequest(f"label: received {received!r}, allowed: {', '.join(names)}, or 0 to {len(names) - 1}")


def name_class(predicted: float, manifest: Manifest) -> str | float:
    """A class by its name, the likeliest of several; else the first number, or the length of a text."""
    return manifest.labels[int(predicted)] if manifest.task in CLASSIFYING and manifest.labels else predicted
