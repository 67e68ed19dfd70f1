"""Which version answers, decided by a person: promote one, roll one back, see who decided what.

These write ``rollout.json`` themselves, and need neither queue nor ledger: a rollback must work when those do not.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Self

import structlog
from flask import Blueprint, request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from modelyard.models.errors import ModelyardError
from modelyard.models.registry import rollout
from modelyard.models.registry.manifest import Manifest
from modelyard.models.registry.retention import read_record
from modelyard.models.registry.rollout import Canary, Rollout, Shadow, change_rollout, read_history, read_rollout
from modelyard.models.registry.store import Store
from modelyard.pipeline.stages.promote import give_role
from modelyard.services.gateway.auth import principal as callers
from modelyard.services.gateway.http.body import read_body
from modelyard.services.gateway.http.json_body import parse_json_body
from modelyard.services.gateway.serving.canary_counts import CanaryCounts
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.keys import without_secrets

log = structlog.get_logger()

Number = Annotated[int, Field(ge=1, le=2**53 - 1)]
Reason = Annotated[str, Field(max_length=500), AfterValidator(without_secrets)]
"""Kept for good, for whoever looks at the history."""
Label = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
OURS = ("stable", "canary", "shadow")
"""Labels that follow from the rollout."""
Role = Callable[..., Rollout]
"""``(rollout, version, by=, reason=, detail=)`` -> the rollout in which the version has it."""

MAX_BODY_BYTES = 16 * 1024
LOAD_DEADLINE_S = 30.0
"""How long a caller waits for a version to be loaded; the model servers go on."""


class NotPromoted(ModelyardError):
    """The version may not answer, or its answers differ from training; says which."""

    status = 409


class Rollback(BaseModel):
    """Why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: Reason = ""


class Forcible(BaseModel):
    """A change that the gate's verdict may speak against."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: Reason = ""
    force: bool = False

    @model_validator(mode="after")
    def _forced_for_a_reason(self) -> Self:
        if self.force and not self.reason.strip():
            raise ValueError("force needs a reason")
        return self


class Promotion(Forcible):
    """Which version is to be stable."""

    version: Number


class CanaryAsked(BaseModel):
    """Which version gets which share of the requests that name none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Number
    percent: float = Field(10.0, ge=0, le=100)
    judged: bool = True
    enough: int = Field(10_000, ge=1, le=10**9)


class RolloutAsked(Forcible):
    """Roles of versions; what is left out stays as it is, null ends it."""

    canary: CanaryAsked | None = None
    shadow: Number | None = None
    labels: dict[Label, Number | None] = Field({}, max_length=16)

    @field_validator("labels")
    @classmethod
    def _not_ours(cls, labels: dict[str, int | None]) -> dict[str, int | None]:
        if taken := sorted(set(labels) & set(OURS)):
            raise ValueError(f"{', '.join(taken)} cannot be given: they follow from the rollout")
        return labels


def routes(settings: GatewaySettings, store: Store, canary_counts: CanaryCounts) -> Blueprint:
    """The views under ``/api/models`` that say, and change, which version answers."""
    views = Blueprint("rollouts", __name__)
    changes = Changes(store, settings.serving)

    @views.get("/api/models/<model>/rollout")
    def shown(model: str) -> dict[str, Any]:
        store.require_versions(model)
        now = read_rollout(store, model)
        return told(now) | {"observed": canary_counts.read_counts(model, now)}

    @views.get("/api/models/<model>/versions/<version:version>")
    def record(model: str, version: int) -> dict[str, Any]:
        return record_of(store, model, version)

    @views.post("/api/models/<model:model>:rollback")
    def roll_back(model: str) -> dict[str, Any]:
        asked = parse_json_body(Rollback, read_body(request, MAX_BODY_BYTES) or b"{}")
        store.require_versions(model)
        by, reason = callers.author(), asked.reason or "asked for"
        changed = change_rollout(store, model, lambda now: now.rollback(by=by, reason=reason))
        log.warning("rolled back", model=model, version=changed.stable, by=by)
        return told(changed)

    @views.post("/api/models/<model:model>:promote")
    def make_stable(model: str) -> dict[str, Any]:
        asked = parse_json_body(Promotion, read_body(request, MAX_BODY_BYTES))
        store.require_versions(model)
        by = callers.author()
        if read_rollout(store, model).stable != asked.version:
            changes.let_in(model, asked.version, asked, by, Rollout.promote)
        return told(read_rollout(store, model))

    @views.post("/api/models/<model>/rollout")
    def change(model: str) -> dict[str, Any]:
        asked = parse_json_body(RolloutAsked, read_body(request, MAX_BODY_BYTES))
        store.require_versions(model)
        changes.make(model, asked, callers.author())
        return told(read_rollout(store, model))

    return views


class Changes:
    """What a person asks of a model's rollout."""

    def __init__(self, store: Store, serving: Sequence[str]) -> None:
        self._store, self._serving = store, serving

    def make(self, model: str, asked: RolloutAsked, by: str) -> None:
        """One role after the other, those that end first.

        Raises:
            UnknownName: no such version.
            NotPossible: nothing is stable, there is nothing to end, or the version has that role.
            NotPromoted: a version may not answer, or did not pass; what was before it still is.
        """
        reason = asked.reason or "asked for"
        for end in endings(asked):
            change_rollout(self._store, model, partial(end, by=by, reason=reason))
        for version, role in beginnings(asked):
            self.let_in(model, version, asked, by, role)

    def let_in(self, model: str, version: int, asked: Forcible, by: str, role: Role) -> None:
        """Loads the version, compares its answers with training's, and gives it its role, as after a job."""
        manifest, now = self._store.manifest(model, version), read_rollout(self._store, model)
        role(now, version, by=by, reason="", detail={})  # before anything is loaded for it
        reason = objection(manifest, self._store.manifest(model, now.stable) if now.stable else None)
        if reason and not asked.force:
            raise NotPromoted(f"{reason}; ask with force and a reason if it is to answer all the same")
        why = f"{asked.reason} (forced: {reason})" if reason else asked.reason

        def edit(now: Rollout, because: str, detail: dict[str, Any]) -> Rollout:
            return role(now, version, by=by, reason=because, detail=detail)

        done = give_role(
            self._store,
            manifest,
            self._serving,
            edit,
            by=by,
            report=lambda _: None,
            why=why,
            deadline_s=LOAD_DEADLINE_S,
        )
        if not done.promoted:
            raise NotPromoted(f"version {version} was not let in: {done.reason}")
        log.warning("rollout changed", model=model, version=version, by=by, forced=bool(reason))


def endings(asked: RolloutAsked) -> Iterator[Callable[..., Rollout]]:
    """What takes roles away: edits that are told by whom and why."""
    if "canary" in asked.model_fields_set and asked.canary is None:
        yield Rollout.end_canary
    if "shadow" in asked.model_fields_set and asked.shadow is None:
        yield Rollout.end_shadow
    for label, version in asked.labels.items():
        if version is None:
            yield lambda now, label=label, **said: now.unlabel(label, **said)


def beginnings(asked: RolloutAsked) -> Iterator[tuple[int, Role]]:
    """Versions, and the role that each is to get."""
    since = datetime.now(UTC)
    if asked.canary:
        canary = Canary(**asked.canary.model_dump(), since=since)
        yield canary.version, lambda now, _, **said: now.start_canary(canary, **said)
    if asked.shadow:
        shadow = Shadow(version=asked.shadow, since=since)
        yield shadow.version, lambda now, _, **said: now.start_shadow(shadow, **said)
    for label, version in asked.labels.items():
        if version is not None:
            yield version, lambda now, number, label=label, **said: now.label(label, number, **said)


def objection(manifest: Manifest, stable: Manifest | None) -> str:
    """Why a version should not answer; empty if nothing speaks against it."""
    if not manifest.verdict.accepted:
        return f"version {manifest.version} failed its gate: {'; '.join(manifest.verdict.reasons)}"
    if manifest.data.source == "sample" and stable and stable.data.source == "real":
        return f"version {manifest.version} was trained on the sample, version {stable.version} on the real data"
    return ""


def record_of(store: Store, model: str, version: int) -> dict[str, Any]:
    """The decision record: where a version came from, how it was judged, and every decision about it."""
    manifest, now = read_record(store, model, version), read_rollout(store, model)
    about = [change for change in read_history(store, model) if version in (change.version, change.detail.get("from"))]
    return manifest.model_dump(exclude={"files", "signatures", "example", "format"}) | {
        "stable": now.stable == version,
        "loaded": version in now.loaded,
        "roles": [role for role, number in now.all_labels.items() if number == version],
        "removed": version not in store.versions(model),
        "changes": [change.model_dump() for change in about],
    }


def told(now: rollout.Rollout) -> dict[str, Any]:
    """A rollout with its history, the newest change first."""
    return now.model_dump() | {"history": [change.model_dump() for change in reversed(now.history)]}
