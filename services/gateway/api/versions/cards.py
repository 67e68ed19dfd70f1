"""Model cards: the author's words, and what the decision record knows."""

from collections.abc import Iterator
from datetime import datetime

from flask import Blueprint, Response, request

from modelyard.models.errors import UnknownName
from modelyard.models.registry.cards.model_card import CardRecord, MeasuredRecord, read_card
from modelyard.models.registry.manifest import (
    BaselineRecord,
    DataRecord,
    Environment,
    ImportRecord,
    Manifest,
    RecipeRecord,
    Training,
    Verdict,
)
from modelyard.models.registry.retention import read_record
from modelyard.models.registry.store import Store
from modelyard.models.registry.uncertainty.record import UncertaintyRecord
from modelyard.models.types import OnAtypical, Task
from modelyard.services.gateway.api.versions.card_markdown import write_markdown
from modelyard.services.gateway.api.versions.evaluations import EvaluationRecord, read_of_version
from modelyard.services.gateway.api.versions.usage import InputDescription, describe_inputs
from modelyard.services.gateway.http.json_body import Body
from modelyard.services.gateway.http.operation import JSON, Operation, describe_view, encode_body

MARKDOWN = "text/markdown"


class TrainingSummary(Body):
    """What the training took."""

    parameters: int
    epochs: int
    cpu_s: float
    wall_s: float
    started_from: int | None


class ModelCard(Body):
    """A version's model card. Texts are empty, and lists too, where the author says nothing."""

    model: str
    version: int
    summary: str
    task: Task
    created_at: datetime
    purpose: str
    made_for: tuple[str, ...]
    not_made_for: tuple[str, ...]
    limits: tuple[str, ...]
    about_data: str
    """The author's words on the data."""
    license: str
    contact: str
    inputs: list[InputDescription]
    outputs: tuple[str, ...]
    """Of the default signature, by name."""
    labels: tuple[str, ...]
    data: DataRecord | None
    recipe: RecipeRecord | None
    training: TrainingSummary | None
    imported: ImportRecord | None
    metrics: dict[str, float]
    """On the test split."""
    baseline: BaselineRecord | None
    verdict: Verdict
    per_class: dict[str, dict[str, float]]
    uncertainty: UncertaintyRecord | None
    """Calibration, coverage of prediction sets and how inputs unlike the data's are found."""
    on_atypical: OnAtypical
    measured: MeasuredRecord | None
    """What was measured on kinds of input, with versions of the same recipe."""
    environment: Environment


def routes(store: Store) -> Blueprint:
    """The view of model cards."""
    views = Blueprint("cards", __name__)

    @views.get("/api/models/<model>/versions/<version:version>/card")
    @describe_view(
        Operation(
            "A version's model card: what it was made for, what it does, where it fails.",
            {200: {JSON: ModelCard, MARKDOWN: None}},
            errors=(404, 500),
        )
    )
    def get_card(model: str, version: int) -> Response:
        card = build_card(store, model, version)
        wants_text = request.accept_mimetypes.best_match([JSON, MARKDOWN]) == MARKDOWN
        content = write_markdown(card.model_dump()) if wants_text else encode_body(card)
        return Response(content, mimetype=MARKDOWN if wants_text else JSON, headers={"Vary": "Accept"})

    return views


def build_card(store: Store, model: str, version: int) -> ModelCard:
    """The card of a version, also of an imported one, or of a deleted one, whose author's words are gone.

    Raises:
        UnknownName: there is no such version.
        CorruptData: the author's words, or the evaluation, are damaged.
    """
    manifest = read_record(store, model, version)
    words = read_card(store.path(model, version)) or CardRecord()
    evaluation = find_evaluation(store, manifest)
    known = {name: getattr(manifest, name) for name in ModelCard.model_fields.keys() & Manifest.model_fields}
    said = {name: getattr(words, name) for name in ModelCard.model_fields.keys() & CardRecord.model_fields.keys()}
    return ModelCard(
        **known
        | said
        | {
            "data": manifest.data,
            "about_data": words.data,
            "inputs": describe_inputs(manifest),
            "outputs": tuple(list_outputs(manifest)),
            "training": summarise_training(manifest.training),
            "per_class": evaluation.per_class if evaluation else {},
        }
    )


def find_evaluation(store: Store, manifest: Manifest) -> EvaluationRecord | None:
    try:
        return read_of_version(store, manifest.model, manifest.version)
    except UnknownName:  # deleted, or imported without test data
        return None


def list_outputs(manifest: Manifest) -> Iterator[str]:
    default = manifest.signatures.get("serving_default")
    yield from (spec.name for spec in default.outputs) if default else ()


def summarise_training(training: Training | None) -> TrainingSummary | None:
    return TrainingSummary.model_validate(training) if training else None
