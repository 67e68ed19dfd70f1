"""Which version answers, and what was decided of each, for the OpenAPI document."""

from datetime import datetime
from typing import Any

from modelyard.models.registry.manifest import (
    BaselineRecord,
    DataRecord,
    Environment,
    RecipeRecord,
    Training,
    Verdict,
)
from modelyard.models.registry.rollout import Change
from modelyard.models.types import Task
from modelyard.services.gateway.api.rollouts import Promotion, Rollback, RolloutAsked
from modelyard.services.gateway.openapi.body import Body
from modelyard.services.gateway.openapi.registry import RolloutState


class RolloutHistory(RolloutState):
    """Who decided what, the newest change first."""

    history: list[Change]
    observed: dict[str, Any] | None = None
    """Of a canary and a shadow; null where there is neither, or the ledger is away."""


class RollbackRequest(Rollback):
    """Why; the body may be left out."""


class PromotionRequest(Promotion):
    """Which version, and why; ``force`` needs a reason, and overrules the gate, never the comparison of answers."""


class RolloutRequest(RolloutAsked):
    """Roles of versions: what is left out stays as it is, null ends it."""


class DecisionRecord(Body):
    """Where a version came from, how it was judged, and every decision about it."""

    model: str
    version: int
    task: Task
    summary: str
    created_at: datetime
    input: dict[str, Any]
    labels: list[str]
    data: DataRecord
    recipe: RecipeRecord
    training: Training
    metrics: dict[str, float]
    baseline: BaselineRecord | None
    verdict: Verdict
    environment: Environment
    job: str | None
    stable: bool
    loaded: bool
    roles: list[str]
    removed: bool
    changes: list[Change]
