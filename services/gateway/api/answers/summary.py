"""``GET /api/models/<model>/feedback``: how often a model was right, day by day, and where it was wrong."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from flask import Blueprint, request
from pydantic import Field

from modelyard.models.registry.store import Store
from modelyard.services.gateway.api.answers.views import (
    MAX_LIMIT,
    Estimate,
    KeptAnswer,
    make_answer,
    make_estimate,
    parse_number,
    read_manifests,
)
from modelyard.services.gateway.api.feedback import find_feedback_kind
from modelyard.services.gateway.http.json_body import Body
from modelyard.services.gateway.http.operation import Parameter, json_view
from modelyard.services.gateway.http.query import check_parameters
from modelyard.services.gateway.serving.predictor import Predictor
from modelyard.services.ledger import Ledger

if TYPE_CHECKING:
    from modelyard.services.ledger.labels import DayCounts

MAX_DAYS = 90
MAX_VERSION = 10**9
FILTERS = (
    Parameter("days", "query", "How far back.", {"type": "integer", "minimum": 1, "maximum": MAX_DAYS, "default": 30}),
    Parameter("version", "query", "Only this one.", {"type": "integer", "minimum": 1, "maximum": MAX_VERSION}),
    Parameter("wrong", "query", "How many.", {"type": "integer", "minimum": 0, "maximum": MAX_LIMIT, "default": 20}),
)


class DayOfFeedback(Body):
    """Captured predictions of one version on one day, in UTC."""

    day: date
    version: int
    right: int
    wrong: int
    numbers: int = Field(description="Predictions of a number with feedback.")
    biased: int = Field(description="Labelled because of what the model said: not among the right and wrong ones.")
    unlabelled: int
    mean_error: float | None = Field(description="Mean absolute error of the numbers.")


class FeedbackSummary(Body):
    """Right and wrong predictions over time."""

    model: str
    captured: bool = Field(description="Whether this model's predictions are captured at present.")
    rate: float = Field(description="Share of its requests that is captured.")
    feedback: Literal["class", "number"] | None = Field(description="What a label is; null: it takes no feedback.")
    classes: tuple[str, ...]
    days: list[DayOfFeedback] = Field(description="In ascending order; days without a prediction are left out.")
    versions: list[Estimate] = Field(description="Over all these days, with an interval of 95 %.")
    wrong: list[KeptAnswer] = Field(description="The newest wrong ones; of numbers, the largest errors.")


def routes(store: Store, ledger: Ledger, predictor: Predictor) -> Blueprint:
    """The view."""
    views = Blueprint("feedback_summary", __name__)

    @views.get("/api/models/<model>/feedback")
    @json_view(parameters=FILTERS, errors=(404,))
    def get_feedback(model: str) -> FeedbackSummary:
        """Count right and wrong predictions by day and version, and list the newest wrong ones."""
        days, version, limit = parse_filters(request.args.to_dict(flat=False))
        manifests = read_manifests(store, model)
        chosen = {number: one for number, one in manifests.items() if version in (None, number)}
        newest = manifests.get(predictor.get_rollout(model).stable or 0) or next(reversed(manifests.values()), None)
        kind = find_feedback_kind(newest) if newest else None
        predictor.capture.flush()
        since = datetime.now(UTC) - timedelta(days=days)
        counts = ledger.labels.count_by_day(model, since, version)
        wrong = ledger.labels.list_wrong(model, chosen, since, limit, numbers=kind == "number") if limit else ()
        return FeedbackSummary(
            model=model,
            captured=model in predictor.capture.models,
            rate=predictor.capture.rate,
            feedback=kind,
            classes=newest.labels if newest and kind == "class" else (),
            days=[DayOfFeedback(**asdict(day)) for day in counts],
            versions=list(estimate_versions(counts)),
            wrong=[make_answer(one, None, manifests) for one in wrong],
        )

    return views


def parse_filters(query: Mapping[str, list[str]]) -> tuple[int, int | None, int]:
    """Days, version, and how many wrong ones. Raises ``InvalidRequest``."""
    given = {"days": "30", "version": "", "wrong": "20"}
    check_parameters(query, given)
    given |= {name: value for name, (value,) in query.items()}
    version = parse_number("version", given["version"], 1, MAX_VERSION - 1) if given["version"] else None
    return (
        parse_number("days", given["days"], 1, MAX_DAYS),
        version,
        parse_number("wrong", given["wrong"], 0, MAX_LIMIT),
    )


def estimate_versions(days: "Iterable[DayCounts]") -> Iterable[Estimate]:
    """Of each version with right or wrong predictions."""
    sums: dict[int, tuple[int, int]] = {}
    for day in days:
        right, labels = sums.get(day.version, (0, 0))
        sums[day.version] = (right + day.right, labels + day.right + day.wrong)
    return (make_estimate(version, right, labels) for version, (right, labels) in sorted(sums.items()) if labels)
