"""Models and versions in the store, and their state in the model server."""

from datetime import datetime

from flask import Blueprint

from modelyard.models.catalog import read_catalog
from modelyard.models.errors import CorruptData
from modelyard.models.registry.manifest import DataRecord, ImportRecord, Manifest, RecipeRecord, Verdict
from modelyard.models.registry.rollout import Canary, Shadow
from modelyard.models.registry.store import Store
from modelyard.models.tfserving.messages import ServingFailed
from modelyard.models.types import Source, Task
from modelyard.services.gateway.auth.principal import current_principal
from modelyard.services.gateway.http.json_body import Body, Error
from modelyard.services.gateway.http.operation import MODEL_SERVER_ERRORS, json_view
from modelyard.services.gateway.serving.predictor import Predictor

UNKNOWN = "unknown"
"""State of a version when the model server does not answer."""
NOT_LOADED = "not loaded"
"""State of a version that the model server does not know; the others are TensorFlow Serving's."""


class Metric(Body):
    """The gate's metric on the test split."""

    name: str
    value: float


class DataName(Body):
    """What a version was trained on."""

    name: str
    source: Source


class ModelSummary(Body):
    """A model by its stable version."""

    name: str
    task: Task
    summary: str
    stable: int | None
    metric: Metric | None
    """None, as data, of an imported version that was not measured."""
    data: DataName | None
    labels: tuple[str, ...]


class DamagedModel(Error):
    """A model whose version cannot be read."""

    name: str
    stable: int | None


class Models(Body):
    """What is served, and what can be trained."""

    models: list[ModelSummary | DamagedModel]
    trainable: list[str]


class VersionRecord(Body):
    """Where a version came from and how good it is."""

    version: int
    created_at: datetime
    metrics: dict[str, float]
    data: DataRecord | None
    recipe: RecipeRecord | None
    imported: ImportRecord | None
    verdict: Verdict
    state: str


class DamagedVersion(Error):
    """A version that cannot be read."""

    version: int
    state: str


class RolloutState(Body):
    """Which versions are loaded, and which one answers."""

    stable: int | None
    canary: Canary | None
    shadow: Shadow | None
    labels: dict[str, int]
    keep: tuple[int, ...]
    fallback: bool


class ModelRecord(Body):
    """A model with all its versions."""

    name: str
    rollout: RolloutState
    versions: list[VersionRecord | DamagedVersion]


def routes(store: Store, predictor: Predictor) -> Blueprint:
    """The views of ``/api/models``."""
    views = Blueprint("models", __name__)

    @views.get("/api/models")
    @json_view()
    def list_models() -> Models:
        """Models by their stable version."""
        principal = current_principal()
        known = principal.filter_catalog(read_catalog(store.root))
        visible = [model for model in store.models() if principal.can_see(model) and store.versions(model)]
        return Models(
            models=[summarise(store, predictor, model) for model in visible],
            trainable=sorted(known.trainable) if known else [],
        )

    @views.get("/api/models/<model>")
    @json_view(errors=MODEL_SERVER_ERRORS)
    def get_model(model: str) -> ModelRecord:
        """A model with all its versions."""
        versions = store.require_versions(model)
        states = find_states(predictor, model, versions)
        return ModelRecord(
            name=model,
            rollout=RolloutState.model_validate(predictor.get_rollout(model)),
            versions=[read_version(store, model, number, states[number]) for number in versions],
        )

    return views


def find_states(predictor: Predictor, model: str, versions: tuple[int, ...]) -> dict[int, str]:
    """State by version, also when the model server is away."""
    try:
        found = predictor.get_states(model)
    except ServingFailed:
        return dict.fromkeys(versions, UNKNOWN)
    return {number: found.get(number, NOT_LOADED) for number in versions}


def summarise(store: Store, predictor: Predictor, model: str) -> ModelSummary | DamagedModel:
    """A model by its stable version, or by its newest one where none is stable."""
    stable = predictor.get_rollout(model).stable
    try:
        manifest = store.manifest(model, stable or store.versions(model)[-1])
    except CorruptData as error:
        return DamagedModel(name=model, stable=stable, error=str(error))
    return ModelSummary(
        name=model,
        task=manifest.task,
        summary=manifest.summary,
        stable=stable,
        metric=read_metric(manifest),
        data=DataName(name=manifest.data.name, source=manifest.data.source) if manifest.data else None,
        labels=manifest.labels,
    )


def read_metric(manifest: Manifest) -> Metric | None:
    """The gate's metric; None if nothing was measured."""
    verdict = manifest.verdict
    return None if verdict.metric is None or verdict.value is None else Metric(name=verdict.metric, value=verdict.value)


def read_version(store: Store, model: str, version: int, state: str) -> VersionRecord | DamagedVersion:
    """Where a version came from and how good it is."""
    try:
        manifest = store.manifest(model, version)
    except CorruptData as error:
        return DamagedVersion(version=version, error=str(error), state=state)
    return VersionRecord(
        version=version,
        created_at=manifest.created_at,
        metrics=manifest.metrics,
        data=manifest.data,
        recipe=manifest.recipe,
        imported=manifest.imported,
        verdict=manifest.verdict,
        state=state,
    )
