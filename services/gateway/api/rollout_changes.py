"""Applies a person's changes of a rollout: gives and ends roles, after the checks of promotion."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Self

import structlog
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from modelyard.models.registry.history import Change
from modelyard.models.registry.promotion import NotPromoted, check_force, check_promotion
from modelyard.models.registry.roles.canary import Canary, Judge, Step
from modelyard.models.registry.roles.shadow import Shadow
from modelyard.models.registry.rollout import MAX_HISTORY, Rollout, change_rollout, read_rollout
from modelyard.models.registry.store import Store
from modelyard.models.tfserving.tls_files import TlsFiles
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


SeenStable = Annotated[
    Number | None,
    Field(description="The version that was stable when you looked. If another is by now, nothing is changed: 409."),
]


class RollbackRequest(BaseModel):
    """The reason of a rollback; the body may be left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: Reason = ""
    if_stable: SeenStable = None


class ForcibleRequest(BaseModel):
    """A change that the gate may forbid; ``force`` overrules it, and needs a reason."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: Reason = ""
    force: bool = False
    if_stable: SeenStable = None

    @model_validator(mode="after")
    def _forced_for_a_reason(self) -> Self:
        check_force(self.reason, force=self.force)
        return self


class PromotionRequest(ForcibleRequest):
    """The version to promote; ``force`` needs a reason, and overrules the gate, never the parity check."""

    version: Number


class StepRequest(BaseModel):
    """A share, and the answers without evidence against the canary that lead to the next one."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    percent: float = Field(gt=0, le=100)
    enough: int | None = Field(None, ge=1, le=10**9, description="As the canary's, unless said.")


def read_step(given: Any) -> Any:
    """A share alone stands for a step."""
    return given if isinstance(given, dict) else {"percent": given}


AnyStep = Annotated[StepRequest, BeforeValidator(read_step, json_schema_input_type=float | StepRequest)]


class CanaryRequest(BaseModel):
    """The canary's version, its share of the requests that name none, and who decides about it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    version: Number
    percent: float = Field(10.0, ge=0, le=100, description="The first step's, unless said.")
    judge: Judge = Field("full", description="`abort-only` may end the canary and raise its share, never promote it.")
    judged: bool | None = Field(
        None, description="The name of before 0.4: false is `off`.", json_schema_extra={"deprecated": True}
    )
    enough: int = Field(10_000, ge=1, le=10**9)
    steps: tuple[AnyStep, ...] = Field((), max_length=20, description="Ascending shares in percent.")

    @field_validator("steps")
    @classmethod
    def _ascending(cls, steps: tuple[StepRequest, ...]) -> tuple[StepRequest, ...]:
        shares = [step.percent for step in steps]
        if shares != sorted(set(shares)):
            raise ValueError(f"expected ascending shares; received {', '.join(f'{share:g}' for share in shares)}")
        return steps

    def start(self, since: datetime) -> Canary:
        """The canary that is asked for."""
        steps = tuple(Step(percent=step.percent, enough=step.enough or self.enough) for step in self.steps)
        percent = steps[0].percent if steps and "percent" not in self.model_fields_set else self.percent
        judge = "off" if self.judged is False and "judge" not in self.model_fields_set else self.judge
        return Canary(version=self.version, percent=percent, since=since, judge=judge, enough=self.enough, steps=steps)


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


def change_roles(
    store: Store, serving: Sequence[str], model: str, request: RolloutRequest, by: str, tls: TlsFiles | None
) -> None:
    """Changes roles one after the other, those that end first.

    Args:
        serving: addresses of the model servers.
        tls: files of the connections to them; None: they are plain.

    Raises:
        UnknownName: no such version.
        Overtaken: another version is stable than the request says.
        InvalidChange: nothing is stable, there is nothing to end, or the version has that role.
        NotPromoted: a version may not answer, or failed a check; later changes are not made.
    """
    reason = request.reason or NO_REASON
    edits = [partial(end, by=by, reason=reason) for end in list_ended_roles(request)]
    if request.fallback is not None:
        edits.append(partial(set_fallback, allowed=request.fallback, by=by, reason=reason))
    for edit in edits:
        change_rollout(store, model, partial(edit_if_stable, request.if_stable, edit))
    for version, role in list_new_roles(request):
        assign_role(store, serving, model, version, request, by, role, tls)


def edit_if_stable(version: int | None, edit: Callable[[Rollout], Rollout], now: Rollout) -> Rollout:
    """The edited rollout; raises ``Overtaken`` if another version than this one is stable."""
    now.require_stable(version)
    return edit(now)


def promote(
    store: Store, serving: Sequence[str], model: str, request: PromotionRequest, by: str, tls: TlsFiles | None
) -> None:
    """Makes a version stable, if it is not; raises as ``change_roles``."""
    now = read_rollout(store, model)
    now.require_stable(request.if_stable)
    if now.stable != request.version:
        assign_role(store, serving, model, request.version, request, by, Rollout.promote, tls)


def assign_role(
    store: Store,
    serving: Sequence[str],
    model: str,
    version: int,
    request: ForcibleRequest,
    by: str,
    role: Role,
    tls: TlsFiles | None,
) -> None:
    """Loads the version, compares its answers with training's, and gives it its role, as after a job."""
    manifest, now = store.manifest(model, version), read_rollout(store, model)
    now.require_stable(request.if_stable)
    role(now, version, by=by, reason="", detail={})  # before anything is loaded for it
    objection = check_promotion(
        manifest, store.manifest(model, now.stable) if now.stable else None, force=request.force
    )
    why = f"{request.reason} (forced: {objection})" if objection else request.reason

    def edit(now: Rollout, reason: str, detail: dict[str, Any]) -> Rollout:
        now.require_stable(request.if_stable)
        return role(now, version, by=by, reason=reason, detail=detail)

    done = give_role(
        *(store, manifest, serving, edit),
        by=by,
        report=lambda _: None,
        why=why,
        deadline_s=LOAD_DEADLINE_S,
        tls=tls,
    )
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
        canary = request.canary.start(since)
        yield canary.version, lambda now, _, **why: now.start_canary(canary, **why)
    if request.shadow:
        shadow = Shadow(version=request.shadow, since=since)
        yield shadow.version, lambda now, _, **why: now.start_shadow(shadow, **why)
    for label, version in request.labels.items():
        if version is not None:
            yield version, lambda now, number, label=label, **why: now.label(label, number, **why)
