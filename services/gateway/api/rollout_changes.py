"""Applies a person's changes of a rollout: gives and ends roles, after the checks of promotion."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Self

import structlog
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from modelyard.models.registry.history import Change
from modelyard.models.registry.promotion import NotPromoted, check_force, check_promotion
from modelyard.models.registry.rollout import MAX_HISTORY, Canary, Rollout, Shadow, change_rollout, read_rollout
from modelyard.models.registry.store import Store
from modelyard.pipeline.stages.promote import give_role
from modelyard.services.keys import mask_keys

log = structlog.get_logger()

Number = Annotated[int, Field(ge=1, le=2**53 - 1)]
Reason = Annotated[str, Field(max_length=500), AfterValidator(mask_keys)]
"""Recorded in the rollout's history for good."""
Label = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
RESERVED_LABELS = ("stable", "canary", "shadow")
"""Labels that follow from the rollout."""
Role = Callable[..., Rollout]
"""``(rollout, version, by=, reason=, detail=)`` -> the rollout in which the version has the role."""

NO_REASON = "requested"
LOAD_DEADLINE_S = 30.0
"""How long a client waits for a version to be loaded; the model servers go on."""


class RollbackRequest(BaseModel):
    """The reason of a rollback; the body may be left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: Reason = ""


class ForcibleRequest(BaseModel):
    """A change that the gate may forbid; ``force`` overrules it, and needs a reason."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: Reason = ""
    force: bool = False

    @model_validator(mode="after")
    def _forced_for_a_reason(self) -> Self:
        check_force(self.reason, force=self.force)
        return self


class PromotionRequest(ForcibleRequest):
    """The version to promote; ``force`` needs a reason, and overrules the gate, never the parity check."""

    version: Number


class CanaryRequest(BaseModel):
    """The canary's version, and its share of the requests that name none."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    version: Number
    percent: float = Field(10.0, ge=0, le=100)
    judged: bool = True
    enough: int = Field(10_000, ge=1, le=10**9)


class RolloutRequest(ForcibleRequest):
    """Roles of versions: what is left out stays as it is, null ends it.

    ``fallback``: whether the version before answers while the stable one cannot be loaded.
    """

    canary: CanaryRequest | None = None
    shadow: Number | None = None
    labels: dict[Label, Number | None] = Field({}, max_length=16)
    fallback: bool | None = None

    @field_validator("labels")
    @classmethod
    def _not_reserved(cls, labels: dict[str, int | None]) -> dict[str, int | None]:
        if reserved := sorted(set(labels) & set(RESERVED_LABELS)):
            raise ValueError(f"{', '.join(reserved)} cannot be given: they follow from the rollout")
        return labels


def change_roles(store: Store, serving: Sequence[str], model: str, request: RolloutRequest, by: str) -> None:
    """Changes roles one after the other, those that end first.

    Args:
        serving: addresses of the model servers.

    Raises:
        UnknownName: no such version.
        InvalidChange: nothing is stable, there is nothing to end, or the version has that role.
        NotPromoted: a version may not answer, or failed a check; later changes are not made.
    """
    reason = request.reason or NO_REASON
    for end in list_ended_roles(request):
        change_rollout(store, model, partial(end, by=by, reason=reason))
    if request.fallback is not None:
        change_rollout(store, model, partial(set_fallback, allowed=request.fallback, by=by, reason=reason))
    for version, role in list_new_roles(request):
        assign_role(store, serving, model, version, request, by, role)


def promote(store: Store, serving: Sequence[str], model: str, request: PromotionRequest, by: str) -> None:
    """Makes a version stable, if it is not; raises as ``change_roles``."""
    if read_rollout(store, model).stable != request.version:
        assign_role(store, serving, model, request.version, request, by, Rollout.promote)


def assign_role(
    store: Store, serving: Sequence[str], model: str, version: int, request: ForcibleRequest, by: str, role: Role
) -> None:
    """Loads the version, compares its answers with training's, and gives it its role, as after a job."""
    manifest, now = store.manifest(model, version), read_rollout(store, model)
    role(now, version, by=by, reason="", detail={})  # before anything is loaded for it
    objection = check_promotion(
        manifest, store.manifest(model, now.stable) if now.stable else None, force=request.force
    )
    why = f"{request.reason} (forced: {objection})" if objection else request.reason

    def edit(now: Rollout, reason: str, detail: dict[str, Any]) -> Rollout:
        return role(now, version, by=by, reason=reason, detail=detail)

    done = give_role(store, manifest, serving, edit, by=by, report=lambda _: None, why=why, deadline_s=LOAD_DEADLINE_S)
    if not done.promoted:
        raise NotPromoted(f"version {version} was not promoted: {done.reason}")
    log.warning("rollout changed", model=model, version=version, by=by, forced=bool(objection))


def set_fallback(now: Rollout, *, allowed: bool, by: str, reason: str) -> Rollout:
    """Whether the version before answers while the stable one cannot be loaded; no change is none in the history."""
    if now.fallback == allowed:
        return now
    action = "allow fallback" if allowed else "forbid fallback"
    change = Change(at=datetime.now(UTC), action=action, version=now.stable or 0, by=by, reason=reason)
    return now.model_copy(update={"fallback": allowed, "history": (*now.history, change)[-MAX_HISTORY:]})


def list_ended_roles(request: RolloutRequest) -> Iterator[Callable[..., Rollout]]:
    """Edits that end roles; each takes ``by`` and ``reason``."""
    if "canary" in request.model_fields_set and request.canary is None:
        yield Rollout.end_canary
    if "shadow" in request.model_fields_set and request.shadow is None:
        yield Rollout.end_shadow
    for label, version in request.labels.items():
        if version is None:
            yield lambda now, label=label, **why: now.unlabel(label, **why)


def list_new_roles(request: RolloutRequest) -> Iterator[tuple[int, Role]]:
    """Versions, and the role that each gets."""
    since = datetime.now(UTC)
    if request.canary:
        canary = Canary(**request.canary.model_dump(), since=since)
        yield canary.version, lambda now, _, **why: now.start_canary(canary, **why)
    if request.shadow:
        shadow = Shadow(version=request.shadow, since=since)
        yield shadow.version, lambda now, _, **why: now.start_shadow(shadow, **why)
    for label, version in request.labels.items():
        if version is not None:
            yield version, lambda now, number, label=label, **why: now.label(label, number, **why)
