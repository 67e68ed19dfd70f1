"""``POST /api/feedback``: the truth about an earlier prediction; and which version made one, from which data."""

import math
from datetime import datetime
from typing import Self

from flask import Blueprint
from pydantic import BaseModel, ConfigDict, Field, model_validator

from modelyard.models.registry.manifest import DataRecord, Manifest
from modelyard.models.registry.store import Store
from modelyard.services.gateway.auth.principal import current_client, current_principal
from modelyard.services.gateway.http.errors import InvalidRequest
from modelyard.services.gateway.http.json_body import Body
from modelyard.services.gateway.http.operation import json_view
from modelyard.services.ledger import Ledger

MAX_ID = 64


class FeedbackRequest(BaseModel):
    """The truth about one row of an earlier request: a label, by name or number, or a value."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    request_id: str = Field(min_length=1, max_length=MAX_ID)
    row: int = Field(0, ge=0, le=10_000)
    label: str | int | None = None
    value: float | None = None

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
    data: DataRecord
    job: str | None


def routes(store: Store, ledger: Ledger) -> Blueprint:
    """The views."""
    views = Blueprint("feedback", __name__)

    @views.post("/api/feedback")
    @json_view(status=201, errors=(404, 409))
    def record_feedback(body: FeedbackRequest) -> FeedbackResponse:
        """Send the truth about a captured prediction."""
        answer = ledger.feedback.get_prediction(body.request_id, body.row, current_principal().visible_models)
        manifest = store.manifest(answer.model, answer.version)
        truth = find_truth(body, manifest)
        right = None if manifest.task == "regression" else truth == answer.predicted
        ledger.feedback.record_truth(answer, truth, right=right, client=current_client())
        return FeedbackResponse(model=answer.model, version=answer.version, right=right)

    @views.get("/api/answers/<request_id>")
    @json_view(errors=(404,))
    def get_origin(request_id: str) -> PredictionOrigin:
        """Read which version made a captured prediction, and the data that it was trained on."""
        answer = ledger.feedback.get_prediction(request_id[:MAX_ID], models=current_principal().visible_models)
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


def find_truth(feedback: FeedbackRequest, manifest: Manifest) -> float:
    """The class by its name or number, or the value.

    Raises:
        InvalidRequest: this model has no such class, or answers with the other kind.
    """
    if manifest.task == "regression":
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
    """A class by its name."""
    return predicted if manifest.task == "regression" else manifest.labels[int(predicted)]
