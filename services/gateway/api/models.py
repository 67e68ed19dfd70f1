"""Models and versions in the store, and their state in the model server."""

from datetime import datetime

from flask import Blueprint
from pydantic import Field

from modelyard.models.catalog import read_catalog
from modelyard.models.errors import CorruptData
from modelyard.models.registry.manifest import (
    DataRecord,
    ImportRecord,
    Manifest,
    RecipeRecord,
    Verdict,
)
from modelyard.models.registry.roles.canary import Canary
from modelyard.models.registry.roles.placement import Placement
from modelyard.models.registry.roles.shadow import Shadow
from modelyard.models.registry.rollout import Rollout
from modelyard.models.registry.store import Store
from modelyard.models.tfserving.messages import ServingFailed
from modelyard.models.types import Source, Task
from modelyard.services.gateway.api.observed import foreign
from modelyard.services.gateway.api.versions.usage import Usage, describe_tensor, describe_usage
from modelyard.services.gateway.auth.principal import current_principal
from modelyard.services.gateway.http.json_body import Body, Error
from modelyard.services.gateway.http.operation import MODEL_SERVER_ERRORS, json_view
from modelyard.services.gateway.serving.predictor import Predictor

UNKNOWN = "unknown"
"""State of a version when the model server does not answer."""
ENDED = "END"
"""TensorFlow Serving's state of a version that was unloaded, until its next start: as good as never loaded."""
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
    canary: Canary | None
    shadow: Shadow | None
    pool: str = Field(description="The pool of model servers that answers.")
    metric: Metric | None
    """None, as data, of an imported version that was not measured."""
    data: DataName | None
    labels: tuple[str, ...]


class DamagedModel(Error):
    """A model whose version cannot be read."""

    name: str
    stable: int | None


class BrokenModel(Error):
    """A model, or a file that is to be one, that cannot be trained; the error has file and line."""

    name: str


class Models(Body):
    """What is served, what can be trained, and what cannot."""

    models: list[ModelSummary | DamagedModel | foreign.ForeignModel]
    trainable: list[str]
    broken: list[BrokenModel]


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
    placement: Placement


class CaptureState(Body):
    """Whether predictions of a model are captured, so that feedback can be given on them."""

    on: bool
    rate: float = Field(description="Share of the requests that are captured without asking for it.")


class ModelRecord(Body):
    """A model with all its versions."""

    name: str
    capture: CaptureState
    rollout: RolloutState
    usage: Usage | None
    """What the stable version takes, or the newest where none is stable; null where it is damaged."""
    versions: list[VersionRecord | DamagedVersion | foreign.ForeignVersion]
    is_foreign: bool = False
    """Whether only the model servers know it: then no version has a role, and the highest one answers."""


def routes(store: Store, predictor: Predictor) -> Blueprint:
    """The views of ``/api/models``."""
    views = Blueprint("models", __name__)

    @views.get("/api/models")
    @json_view()
    def list_models() -> Models:
        """Models by their stable version."""
        principal = current_principal()
        known = principal.filter_catalog(read_catalog(store.root))
        broken = sorted(known.broken.items()) if known else ()
        visible = [model for model in store.models() if principal.can_see(model) and store.versions(model)]
        others = [model for model in foreign.list_foreign(store, predictor) if principal.can_see(model)]
        return Models(
            models=[
                *(summarise(store, predictor, model) for model in visible),
                *(foreign.summarise_foreign(predictor, model) for model in others),
            ],
            trainable=sorted(known.trainable) if known else [],
            broken=[BrokenModel(name=name, error=error) for name, error in broken],
        )

    @views.get("/api/models/<model>")
    @json_view(errors=MODEL_SERVER_ERRORS)
    def get_model(model: str) -> ModelRecord:
        """A model with all its versions."""
        if model in foreign.list_foreign(store, predictor):
            return describe_foreign(predictor, model)
        versions = store.require_versions(model)
        states = find_states(predictor, model, versions)
        rollout = predictor.get_rollout(model)
        return ModelRecord(
            name=model,
            capture=CaptureState(on=model in predictor.capture.models, rate=predictor.capture.rate),
            rollout=RolloutState.model_validate(rollout),
            usage=describe_usage(store, model, rollout.stable or versions[-1]),
            versions=[read_version(store, model, number, states[number]) for number in versions],
        )

    return views


def find_states(predictor: Predictor, model: str, versions: tuple[int, ...]) -> dict[int, str]:
    """State by version, also when the model server is away."""
    try:
        found = predictor.get_states(model)
        return dict.fromkeys(versions, NOT_LOADED) | {
            number: state for number, state in found.items() if state != ENDED
        }
    except ServingFailed:
        return dict.fromkeys(versions, UNKNOWN)


def summarise(store: Store, predictor: Predictor, model: str) -> ModelSummary | DamagedModel:
    """A model by its stable version, or by its newest one where none is stable."""
    rollout = predictor.get_rollout(model)
    roles = {"stable": rollout.stable, "canary": rollout.canary, "shadow": rollout.shadow}
    try:
        manifest = store.manifest(model, rollout.stable or store.versions(model)[-1])
    except CorruptData as error:
        return DamagedModel(name=model, error=str(error), stable=rollout.stable)
    return ModelSummary(
        name=model,
        task=manifest.task,
        summary=manifest.summary,
        metric=read_metric(manifest),
        data=DataName(name=manifest.data.name, source=manifest.data.source) if manifest.data else None,
        labels=manifest.labels,
        pool=rollout.placement.pool,
        **roles,
    )


def describe_foreign(predictor: Predictor, model: str) -> ModelRecord:
    """A model that only the model servers know."""
    states, known = foreign.find_foreign_states(predictor, model), foreign.read_tensors(predictor, model)
    return ModelRecord(
        name=model,
        capture=CaptureState(on=False, rate=0.0),
        rollout=RolloutState.model_validate(Rollout()),
        usage=Usage(version=known[0], inputs=list(map(describe_tensor, known[1])), example=None) if known else None,
        versions=[foreign.ForeignVersion(version=version, state=state) for version, state in states.items()],
        is_foreign=True,
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
