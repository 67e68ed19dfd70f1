"""Which version answers, decided by a person: promote one, roll one back, see who decided what.

These write ``rollout.json`` themselves, and need neither queue nor ledger: a rollback must work when those do not.
"""

from typing import Any

import structlog
from flask import Blueprint, request
from pydantic import BaseModel, ConfigDict, Field, model_validator

from models import rollout
from models.errors import ModelyardError
from models.manifest import Manifest
from models.store import Store
from pipeline.promote import promote
from services.gateway import json_body, payload
from services.gateway.settings import GatewaySettings

log = structlog.get_logger()

MAX_BODY_BYTES = 16 * 1024
LOAD_DEADLINE_S = 30.0
"""How long a caller waits for a version to be loaded; the model servers go on."""


class NotPromoted(ModelyardError):
    """The version may not answer, or its answers differ from training; says which."""

    status = 409


class Rollback(BaseModel):
    """Why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: str = Field("", max_length=500)


class Promotion(BaseModel):
    """Which version, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = Field(ge=1, le=2**53 - 1)
    reason: str = Field("", max_length=500)
    force: bool = False

    @model_validator(mode="after")
    def _forced_for_a_reason(self) -> "Promotion":
        if self.force and not self.reason.strip():
            raise ValueError("force needs a reason")
        return self


def routes(settings: GatewaySettings, store: Store) -> Blueprint:
    """The views under ``/api/models`` that say, and change, which version answers."""
    views = Blueprint("rollouts", __name__)

    @views.get("/api/models/<model>/rollout")
    def shown(model: str) -> dict[str, Any]:
        store.known_versions(model)
        return told(rollout.read(store, model))

    @views.get("/api/models/<model>/versions/<version:version>")
    def record(model: str, version: int) -> dict[str, Any]:
        return record_of(store, model, version)

    @views.post("/api/models/<model:model>:rollback")
    def roll_back(model: str) -> dict[str, Any]:
        asked = json_body.parsed(Rollback, payload.read(request, MAX_BODY_BYTES) or b"{}")
        store.known_versions(model)
        by, reason = f"http {request.remote_addr}", asked.reason or "asked for"
        changed = rollout.change(store, model, lambda now: now.rollback(by=by, reason=reason))
        log.warning("rolled back", model=model, version=changed.stable, by=by)
        return told(changed)

    @views.post("/api/models/<model:model>:promote")
    def make_stable(model: str) -> dict[str, Any]:
        asked = json_body.parsed(Promotion, payload.read(request, MAX_BODY_BYTES))
        store.known_versions(model)
        by = f"http {request.remote_addr}"
        promoted(settings, store, model, asked, by)
        log.warning("promoted", model=model, version=asked.version, by=by, forced=asked.force)
        return told(rollout.read(store, model))

    return views


def promoted(settings: GatewaySettings, store: Store, model: str, asked: Promotion, by: str) -> None:
    """Loads, compares and flips, as after a job.

    Raises:
        UnknownName: no such version.
        NotPromoted: it may not, or did not pass; what answered before still does.
    """
    manifest, stable = store.manifest(model, asked.version), rollout.read(store, model).stable
    if stable == asked.version:
        return
    reason = objection(manifest, store.manifest(model, stable) if stable else None)
    if reason and not asked.force:
        raise NotPromoted(f"{reason}; ask with force and a reason if it is to answer all the same")
    why = f"{asked.reason} (forced: {reason})" if reason else asked.reason
    done = promote(store, manifest, settings.serving, by=by, report=lambda _: None, why=why, deadline_s=LOAD_DEADLINE_S)
    if not done.promoted:
        raise NotPromoted(f"version {asked.version} was not promoted: {done.reason}")


def objection(manifest: Manifest, stable: Manifest | None) -> str:
    """Why a version should not answer; empty if nothing speaks against it."""
    if not manifest.verdict.accepted:
        return f"version {manifest.version} failed its gate: {'; '.join(manifest.verdict.reasons)}"
    if manifest.data.source == "sample" and stable and stable.data.source == "real":
        return f"version {manifest.version} was trained on the sample, version {stable.version} on the real data"
    return ""


def record_of(store: Store, model: str, version: int) -> dict[str, Any]:
    """The decision record: where a version came from, how it was judged, and every decision about it."""
    manifest, now = store.manifest(model, version), rollout.read(store, model)
    about = [change for change in now.history if version in (change.version, change.detail.get("from"))]
    return manifest.model_dump(exclude={"files", "signatures", "example", "format"}) | {
        "stable": now.stable == version,
        "loaded": version in now.loaded,
        "changes": [change.model_dump() for change in about],
    }


def told(now: rollout.Rollout) -> dict[str, Any]:
    """A rollout with its history, the newest change first."""
    return now.model_dump() | {"history": [change.model_dump() for change in reversed(now.history)]}
