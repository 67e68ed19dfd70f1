"""Rollouts over HTTP: promote, roll back, change roles, read the history and decision records.

The views write ``rollout.json`` themselves, and need neither queue nor ledger: a rollback must work without those.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import structlog
from flask import Blueprint, g

from modelyard.models.errors import StorageFailed
from modelyard.models.registry import rollout, serving_set
from modelyard.models.registry.cards.data_card import DataCard, read_data_card
from modelyard.models.registry.history import Change
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
from modelyard.models.registry.rollout import Rollout
from modelyard.models.registry.store import Store
from modelyard.models.registry.uncertainty.record import UncertaintyRecord
from modelyard.models.tfserving.tls_files import TlsFiles
from modelyard.models.types import OnAtypical, Task
from modelyard.services.gateway.api import rollout_changes
from modelyard.services.gateway.api.models import RolloutState
from modelyard.services.gateway.api.rollout_changes import (
    NO_REASON,
    ForcibleRequest,
    PromotionRequest,
    RollbackRequest,
    RolloutRequest,
)
from modelyard.services.gateway.auth.principal import current_author, current_origin
from modelyard.services.gateway.http.json_body import Body
from modelyard.services.gateway.http.operation import json_view
from modelyard.services.ledger import Entry, Kind, Ledger, Outcome

log = structlog.get_logger()


class RolloutHistory(RolloutState):
    """A rollout and its history, the newest change first."""

    history: list[Change]


class ObservedRollout(RolloutHistory):
    """A rollout, and the counts of its canary and shadow; null without either, or while the ledger is away."""

    observed: dict[str, Any] | None


class DecisionRecord(Body):
    """A version's origin, its metrics and verdict, and every decision about it."""

    model: str
    version: int
    task: Task
    summary: str
    created_at: datetime
    input: dict[str, Any] | None
    labels: tuple[str, ...]
    data: DataRecord | None
    data_card: DataCard | None
    """None for a deleted or imported version, and for one of release 0.2."""
    recipe: RecipeRecord | None
    training: Training | None
    imported: ImportRecord | None
    uncertainty: UncertaintyRecord | None
    """What it says of how sure its answers are; None of an imported version, and of those before release 0.3."""
    on_atypical: OnAtypical
    batches: bool
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


def routes(serving: Sequence[str], store: Store, ledger: Ledger, tls: TlsFiles | None = None) -> Blueprint:
    """The views under ``/api/models`` that read and change rollouts.

    Args:
        serving: gRPC addresses of every model server.
        tls: files of the connections to them; None: they are plain.
    """
    views = Blueprint("rollouts", __name__)

    @views.get("/api/models/<model>/rollout")
    @json_view(errors=(404,))
    def get_rollout(model: str) -> ObservedRollout:
        """Read a rollout and its history."""
        store.require_versions(model)
        now = rollout.read_rollout(store, model)
        return ObservedRollout(**vars(build_rollout_history(now)), observed=read_observations(ledger, model, now))

    @views.get("/api/models/<model>/versions/<version:version>")
    @json_view(errors=(404,))
    def get_version(model: str, version: int) -> DecisionRecord:
        """A version's decision record."""
        return build_decision_record(store, model, version)

    @views.post("/api/models/<model:model>:rollback")
    @json_view(empty_body=b"{}", errors=(404, 409))
    def roll_back(model: str, body: RollbackRequest) -> RolloutHistory:
        """Make the previous stable version stable again, at once."""
        store.require_versions(model)
        by, reason, detail = current_author(), body.reason or NO_REASON, {"request_id": g.request_id}
        changed = serving_set.roll_back(store, model, by=by, reason=reason, detail=detail, if_stable=body.if_stable)
        log.warning("rolled back", model=model, version=changed.stable, by=by)
        return build_rollout_history(changed)

    @views.post("/api/models/<model:model>:promote")
    @json_view(errors=(404, 409))
    def promote(model: str, body: PromotionRequest) -> RolloutHistory:
        """Make a version stable, once every model server gives its golden answers."""
        store.require_versions(model)
        record_request(ledger, "promote", model, body, body.version)
        rollout_changes.promote(store, serving, model, body, current_author(), tls)
        return build_rollout_history(rollout.read_rollout(store, model))

    @views.post("/api/models/<model>/rollout")
    @json_view(errors=(404, 409))
    def change_rollout(model: str, body: RolloutRequest) -> RolloutHistory:
        """Give versions roles, or end them: a canary's share, a shadow, labels."""
        store.require_versions(model)
        if any(rollout_changes.list_new_roles(body)):  # what only ends roles needs no ledger, as a rollback
            record_request(ledger, "change", model, body)
        rollout_changes.change_roles(store, serving, model, body, current_author(), tls)
        return build_rollout_history(rollout.read_rollout(store, model))

    return views


def record_request(
    ledger: Ledger, action: str, model: str, request: ForcibleRequest, version: int | None = None
) -> None:
    """Records what is requested before it is done; what was done follows from the rollout's history.

    Raises:
        StorageFailed: the ledger is away, and nothing may be changed.
    """
    detail = request.model_dump(mode="json", exclude_unset=True, exclude={"version"})
    by, origin, requested = current_author(), current_origin(), Outcome.REQUESTED
    ledger.audit.record(
        Entry(Kind.ROLLOUT, action, by, origin, model=model, version=version, detail=detail, outcome=requested)
    )


def read_observations(ledger: Ledger, model: str, rollout: Rollout) -> dict[str, Any] | None:
    """Counts of the model's canary and shadow over all gateways, and the evidence; None without the ledger."""
    try:
        found: dict[str, Any] = {}
        if rollout.canary:
            sums = ledger.observations.sum_counts(model, rollout.canary.since)
            state = ledger.observations.read_analysis(model, rollout.canary.since).state
            found |= {role: sums.get(role, {}) for role in ("stable", "canary")} | {"judge": state.get("statistics")}
        if rollout.shadow:
            found |= {"shadow": ledger.observations.sum_counts(model, rollout.shadow.since).get("shadow", {})}
    except StorageFailed:
        return None
    return found or None


def build_decision_record(store: Store, model: str, version: int) -> DecisionRecord:
    """The decision record of a version, also of a deleted one."""
    manifest, now = read_record(store, model, version), rollout.read_rollout(store, model)
    known = {name: getattr(manifest, name) for name in DecisionRecord.model_fields.keys() & Manifest.model_fields}
    changes = rollout.read_history(store, model)
    return DecisionRecord(
        **known | {"input": manifest.input and manifest.input.model_dump()},
        stable=now.stable == version,
        loaded=version in now.loaded,
        roles=[role for role, number in now.all_labels.items() if number == version],
        removed=version not in store.versions(model),
        data_card=read_data_card(store.path(model, version)),
        changes=[change for change in changes if version in (change.version, change.detail.get("from"))],
    )


def build_rollout_history(now: Rollout) -> RolloutHistory:
    """The newest change first."""
    state = RolloutState.model_validate(now)
    return RolloutHistory(**vars(state), history=list(reversed(now.history)))
