"""Models and their versions, for the OpenAPI document."""

from datetime import datetime

from modelyard.models.registry.manifest import DataRecord, RecipeRecord, Verdict
from modelyard.models.registry.rollout import Canary, Shadow
from modelyard.models.types import Source, Task
from modelyard.services.gateway.openapi.body import Body, Error


class Metric(Body):
    """The number that the gate judged by."""

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
    metric: Metric
    data: DataName
    labels: list[str]


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
    data: DataRecord
    recipe: RecipeRecord
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
    keep: list[int]


class ModelRecord(Body):
    """A model with all its versions."""

    name: str
    rollout: RolloutState
    versions: list[VersionRecord | DamagedVersion]
