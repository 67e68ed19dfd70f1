"""``GET /api/models/<model>/answers``: captured predictions, in the order in which labels are worth most."""

import math
import re
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, get_args

from flask import Blueprint, Response, request
from pydantic import Field

from modelyard.models.errors import CorruptData
from modelyard.models.registry.manifest import Manifest
from modelyard.models.registry.rollout import Rollout
from modelyard.models.registry.store import Store
from modelyard.services.gateway.api.feedback import (
    MAX_ID,
    CapturedPredictions,
    find_feedback_kind,
    name_class,
)
from modelyard.services.gateway.http.errors import InvalidRequest
from modelyard.services.gateway.http.json_body import Body
from modelyard.services.gateway.http.operation import Operation, Parameter, describe_view, json_view
from modelyard.services.gateway.http.query import check_parameters
from modelyard.services.gateway.serving.predictor import Predictor
from modelyard.services.ledger import Ledger

if TYPE_CHECKING:
    from modelyard.services.gateway.api.answers.disagreement import Second
    from modelyard.services.ledger.feedback import CapturedPrediction
    from modelyard.services.ledger.labels import Labelled

Order = Literal["random", "margin", "disagreement", "newest"]
MAX_LIMIT = 50
MAX_ROW = 10_000
Z = 1.959964
"""Of the normal distribution, for an interval that holds the truth in 95 of 100 cases."""
FILTERS = (
    Parameter(
        "order",
        "query",
        "At random, of a half that is set aside for it, and of the versions that answer now; or of the others, the "
        "unsurest first, those that the canary (or shadow) answers otherwise than stable, or the newest first.",
        {"enum": list(get_args(Order)), "default": "random"},
    ),
    Parameter("unlabelled", "query", "Only without feedback.", {"type": "boolean", "default": True}),
    Parameter("limit", "query", "How many.", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": 20}),
)
PICTURE_OF = (
    Parameter("row", "query", "Of the request.", {"type": "integer", "minimum": 0, "maximum": MAX_ROW, "default": 0}),
    Parameter("name", "query", "The input, where there are several.", {"type": "string"}),
)


class OtherPrediction(Body):
    """What another version predicts of the same input."""

    version: int
    predicted: str | float
    score: float | None


class KeptAnswer(Body):
    """A captured prediction."""

    request_id: str
    row: int
    at: datetime
    version: int
    predicted: str | float
    score: float | None
    margin: float | None = Field(description="Score of the likeliest class less that of the next.")
    inputs: list[Any] = Field(description="Each with name, title, kind, and its value or the address of its picture.")
    other: OtherPrediction | None = Field(description="With order=disagreement.")
    label: str | float | None = Field(description="What feedback says.")
    chosen: str | None = Field(description="How it was chosen for feedback.")


class Estimate(Body):
    """Accuracy of a version, estimated from labels of predictions that were drawn at random."""

    version: int
    labels: int
    right: int
    accuracy: float
    low: float = Field(description="With high, Wilson's interval of 95 %.")
    high: float


class KeptAnswers(Body):
    """Captured predictions, and how far their labelling is."""

    model: str
    order: str
    captured: bool = Field(description="Whether this model's predictions are captured at present.")
    feedback: Literal["class", "number"] | None = Field(description="What a label is; null: it takes no feedback.")
    classes: tuple[str, ...]
    answers: list[KeptAnswer]
    unlabelled: int = Field(description="Among the newest 10,000.")
    labels: dict[str, int] = Field(description="All labels, by how their predictions were chosen.")
    estimates: list[Estimate]


def routes(store: Store, ledger: Ledger, predictor: Predictor) -> Blueprint:
    """The views."""
    views, captured = Blueprint("answers", __name__), CapturedPredictions(ledger, predictor.capture)

    @views.get("/api/models/<model>/answers")
    @json_view(parameters=FILTERS, errors=(404, 409, 429, 504))
    def list_answers(model: str) -> KeptAnswers:
        """List captured predictions of a model, to be labelled."""
        order, unlabelled, limit = parse_filters(request.args.to_dict(flat=False))
        manifests = read_manifests(store, model)
        newest = manifests.get(predictor.get_rollout(model).stable or 0) or next(reversed(manifests.values()), None)
        kind = find_feedback_kind(newest) if newest else None
        if order == "margin" and kind == "number":
            raise InvalidRequest(f"order: {model} answers with a number, which has no margin; take random or newest")
        predictor.capture.flush()
        found = find_answers(ledger, predictor, model, order, manifests, limit, unlabelled=unlabelled)
        counts = ledger.labels.count_labels(model)
        return KeptAnswers(
            model=model,
            order=order,
            captured=model in predictor.capture.models,
            feedback=kind,
            classes=newest.labels if newest and kind == "class" else (),
            answers=[make_answer(one, second, manifests) for one, second in found],
            unlabelled=counts.unlabelled,
            labels=dict(counts.by_choice),
            estimates=[make_estimate(version, *drawn) for version, drawn in counts.drawn.items()],
        )

    @views.get("/api/answers/<request_id>/input")
    @describe_view(
        Operation(
            summary="Read a picture that was an input of a captured prediction.",
            responses={200: {"image/png": None, "image/jpeg": None}},
            parameters=PICTURE_OF,
            errors=(404,),
        )
    )
    def get_picture(request_id: str) -> Response:
        from modelyard.services.gateway.api.answers.inputs import read_picture

        answer = captured.find(request_id[:MAX_ID], parse_number("row", request.args.get("row", "0"), 0, MAX_ROW))
        manifest = store.manifest(answer.model, answer.version)
        content_type, content = read_picture(answer, manifest, request.args.get("name", ""))
        return Response(content, content_type=content_type)

    return views


def parse_filters(query: Mapping[str, list[str]]) -> tuple[Order, bool, int]:
    """Order, whether only those without feedback, and how many. Raises ``InvalidRequest``."""
    given = {"order": "random", "unlabelled": "true", "limit": "20"}
    check_parameters(query, given)
    given |= {name: value for name, (value,) in query.items()}
    order: Any = parse_choice("order", given["order"], get_args(Order))
    unlabelled = parse_choice("unlabelled", given["unlabelled"], ("true", "false")) == "true"
    return order, unlabelled, parse_number("limit", given["limit"], 1, MAX_LIMIT)


def parse_choice(name: str, received: str, allowed: tuple[str, ...]) -> str:
    if received not in allowed:
        raise InvalidRequest(f"{name}: received {received[:40]!r}, allowed: {', '.join(allowed)}")
    return received


def parse_number(name: str, received: str, least: int, most: int) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", received) or not least <= int(received) <= most:
        raise InvalidRequest(f"{name}: received {received[:40]!r}, allowed: {least} to {most}")
    return int(received)


def read_manifests(store: Store, model: str) -> dict[int, Manifest]:
    """Of every version that can be read; raises ``UnknownName``."""
    found = {}
    for version in store.require_versions(model):
        try:
            found[version] = store.manifest(model, version)
        except CorruptData:
            continue  # nobody can be told what its classes are
    return found


def find_answers(
    ledger: Ledger,
    predictor: Predictor,
    model: str,
    order: Order,
    manifests: Mapping[int, Manifest],
    limit: int,
    *,
    unlabelled: bool,
) -> "list[tuple[Labelled, Second | None]]":
    """Captured predictions in this order; what the other version says where that is the order."""
    if order != "disagreement":
        versions = set(manifests)
        if order == "random":
            versions = find_answering(predictor.get_rollout(model)) & versions or versions
        found = ledger.labels.list_predictions(model, order, versions, limit, unlabelled=unlabelled)
        return [(one, None) for one in found]
    from modelyard.services.gateway.api.answers.disagreement import MAX_COMPARED, find_disagreements, find_pair

    pair = find_pair(predictor.get_rollout(model), model)
    known = {version for version in pair if version in manifests}
    newest = ledger.labels.list_predictions(model, "newest", known, MAX_COMPARED, unlabelled=unlabelled)
    by_row = {(one.answer.request_id, one.answer.row): one for one in newest}
    differing = find_disagreements(predictor, model, pair, [one.answer for one in newest])
    return [(by_row[answer.request_id, answer.row], second) for answer, second in differing[:limit]]


def find_answering(rollout: Rollout) -> set[int]:
    """Versions that answer clients who name none."""
    canary = rollout.canary.version if rollout.canary else None
    return {version for version in (rollout.stable, canary) if version is not None}


def make_answer(one: "Labelled", second: "Second | None", manifests: Mapping[int, Manifest]) -> KeptAnswer:
    from modelyard.services.gateway.api.answers.inputs import describe_inputs  # loads SQLAlchemy

    answer: CapturedPrediction = one.answer
    manifest, other = manifests[answer.version], None
    if second is not None:
        predicted = name_class(second.predicted, manifests[second.version])
        other = OtherPrediction(version=second.version, predicted=predicted, score=second.score)
    return KeptAnswer(
        request_id=answer.request_id,
        row=answer.row,
        at=answer.at,
        version=answer.version,
        predicted=name_class(answer.predicted, manifest),
        score=answer.score,
        margin=answer.margin,
        inputs=[value.model_dump() for value in describe_inputs(answer, manifest)],
        other=other,
        label=None if one.truth is None else name_class(one.truth, manifest),
        chosen=one.chosen,
    )


def make_estimate(version: int, right: int, labels: int) -> Estimate:
    """With the interval of E. B. Wilson (Probable inference, JASA 22, 1927), which holds for few labels, too."""
    share, spread = right / labels, Z * Z / labels
    middle = share + spread / 2
    width = Z * math.sqrt(share * (1 - share) / labels + spread / (4 * labels))
    low, high = ((middle + sign * width) / (1 + spread) for sign in (-1, 1))
    return Estimate(version=version, labels=labels, right=right, accuracy=share, low=max(0.0, low), high=min(1.0, high))
