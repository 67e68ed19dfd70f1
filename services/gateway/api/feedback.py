"""``POST /api/feedback``: what is true of an earlier answer; and which version made an answer, from which data."""

import math
from typing import Any, Self

from flask import Blueprint, request
from pydantic import BaseModel, ConfigDict, Field, model_validator

from modelyard.models.registry.manifest import Manifest
from modelyard.models.registry.store import Store
from modelyard.services.gateway.auth import principal as callers
from modelyard.services.gateway.http.body import read_body
from modelyard.services.gateway.http.errors import InvalidRequest
from modelyard.services.gateway.http.json_body import parse_json_body
from modelyard.services.gateway.serving.capture import Capture

MAX_BODY_BYTES = 16 * 1024
MAX_ID = 64


class Told(BaseModel):
    """What is true of one row of an answered request."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    request_id: str = Field(min_length=1, max_length=MAX_ID)
    row: int = Field(0, ge=0, le=10_000)
    label: str | int | None = None
    value: float | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.label is None) == (self.value is None):
            raise ValueError("expected one of label and value")
        return self


def routes(store: Store, capture: Capture) -> Blueprint:
    """The views."""
    views = Blueprint("feedback", __name__)

    @views.post("/api/feedback")
    def tell() -> tuple[dict[str, Any], int]:
        told = parse_json_body(Told, read_body(request, MAX_BODY_BYTES))
        answer = capture.feedback.answer(told.request_id, told.row, callers.current().scope)
        manifest = store.manifest(answer.model, answer.version)
        truth = truth_of(told, manifest)
        right = None if manifest.task == "regression" else truth == answer.predicted
        capture.feedback.tell(answer, truth, right=right, client=callers.client())
        return {"model": answer.model, "version": answer.version, "right": right}, 201

    @views.get("/api/answers/<request_id>")
    def made(request_id: str) -> dict[str, Any]:
        answer = capture.feedback.answer(request_id[:MAX_ID], models=callers.current().scope)
        manifest = store.manifest(answer.model, answer.version)
        return {
            "request_id": request_id,
            "at": answer.at,
            "model": answer.model,
            "version": answer.version,
            "predicted": shown(answer.predicted, manifest),
            "data": manifest.data.model_dump(),
            "job": manifest.job,
        }

    return views


def truth_of(told: Told, manifest: Manifest) -> float:
    """The class by its name or number, or the value.

    Raises:
        InvalidRequest: this model has no such class, or answers with the other kind.
    """
    if manifest.task == "regression":
        if told.value is None or not math.isfinite(told.value):
            raise InvalidRequest(f"{manifest.model} answers with a number: expected a finite value")
        return told.value
    names = manifest.labels
    if told.label in names:
        return float(names.index(str(told.label)))
    if isinstance(told.label, int) and 0 <= told.label < len(names):
        return float(told.label)
    received = told.value if told.label is None else told.label
    raise InvalidRequest(f"label: received {received!r}, allowed: {', '.join(names)}, or 0 to {len(names) - 1}")


def shown(predicted: float, manifest: Manifest) -> str | float:
    """A class by its name."""
    return predicted if manifest.task == "regression" else manifest.labels[int(predicted)]
