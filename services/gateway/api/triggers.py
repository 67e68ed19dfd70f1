"""``/api/models/NAME/triggers`` and ``/drift``: conditions that start jobs, and the drift that one of them reads."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from flask import Blueprint
from pydantic import Field, ValidationError

from modelyard.models.catalog import read_catalog
from modelyard.models.errors import CorruptData, UnknownName
from modelyard.models.registry.store import Store
from modelyard.services.gateway.auth.principal import current_author, current_origin, current_principal
from modelyard.services.gateway.http.json_body import Body
from modelyard.services.gateway.http.operation import json_view
from modelyard.services.ledger import Ledger
from modelyard.services.triggers import Trigger, check_condition, find_hold, list_next_times

if TYPE_CHECKING:
    from modelyard.models.registry.reference import Histogram, Shares
    from modelyard.services.ledger.observations import Drift
    from modelyard.services.ledger.triggers import StoredTrigger

SHOWN_FIRINGS, SHOWN_TIMES = 30, 5
MAX_HISTOGRAMS = 40
"""Of a model with hundreds of them, those that have moved most are shown."""


class TriggerRequest(Trigger):
    """One of ``cron`` (five fields, in UTC), ``feedback``, ``quality`` and ``psi`` (drift), and the job."""


class FiringResponse(Body):
    """A job that a trigger has started."""

    at: datetime
    job: str
    state: str
    reason: str = Field(description="Why the trigger was due.")
    finished_at: datetime | None


class ConditionResponse(Body):
    """What a trigger's condition says now."""

    due: bool
    reason: str = Field(description="In words, whether it is due or not.")
    value: float | None = Field(description="What is compared with the limit, as far as it is known.")
    limit: float | None
    held_back: str = Field(description="What keeps it from firing, though it may be due; empty for nothing.")


class TriggerResponse(TriggerRequest):
    """A trigger as it was set, and the job that it started last."""

    model: str
    name: str
    since: datetime
    fired_at: datetime | None
    job_id: str | None
    condition: ConditionResponse | None = Field(None, description="Null: of another release, which sets other ones.")
    next_at: list[datetime] = Field([], description="When a schedule fires next; empty of other conditions.")
    firings: list[FiringResponse] = Field([], description="The newest first, thirty at most.")


class TriggerList(Body):
    """In order of name."""

    triggers: list[TriggerResponse]


class ShiftResponse(Body):
    """How far a histogram has moved, and its counts, as far as they are known: of the 40 that have moved most."""

    psi: float
    p_value: float | None
    reference: list[int] | None = Field(None, description="Counts by bin in the evaluation.")
    seen: list[int] | None = Field(None, description="Counts of the predictions that were compared, in the same bins.")
    edges: list[float] | None = Field(None, description="Inner edges of bins of numbers; the outer bins have no limit.")
    values: list[str] | None = Field(
        None, description="Of a category: of its bins, without those of others and of none."
    )
    missing: bool = Field(False, description="Whether the last bin is of missing values.")


class DriftResponse(Body):
    """Drift of the stable version's inputs and outputs from those of its evaluation, the largest first."""

    model: str
    version: int | None
    answers: int
    shifts: dict[str, ShiftResponse]
    at: datetime | None


def routes(store: Store, ledger: Ledger) -> Blueprint:
    """The views."""
    views = Blueprint("triggers", __name__)

    @views.get("/api/models/<model>/triggers")
    @json_view(exclude_unset=True, errors=(404,))
    def list_triggers(model: str) -> TriggerList:
        """List a model's triggers."""
        return trigger_list(store, ledger, model, known=is_known(store, model))

    @views.get("/api/models/<model>/drift")
    @json_view(errors=(404,))
    def get_drift(model: str) -> DriftResponse:
        """Read the drift of a model's inputs and outputs."""
        if not is_known(store, model):
            raise UnknownName(f"unknown model {model[:64]!r}")
        for drift in ledger.observations.list_drift(model):
            return drift_response(store, drift)
        return DriftResponse(model=model, version=None, answers=0, shifts={}, at=None)

    @views.put("/api/models/<model>/triggers/<label:name>")
    @json_view(exclude_unset=True, errors=(404,))
    def put_trigger(model: str, name: str, body: TriggerRequest) -> TriggerResponse:
        """Set a trigger: a schedule, enough feedback, drift, or quality below a floor."""
        check_job(store, model, body)
        trigger, by = body.model_dump(exclude_defaults=True), current_author()
        return trigger_response(store, ledger, ledger.triggers.put(model, name, trigger, by, current_origin()))

    @views.delete("/api/models/<model>/triggers/<label:name>")
    @json_view(exclude_unset=True, errors=(404,))
    def remove_trigger(model: str, name: str) -> TriggerList:
        """Remove a trigger."""
        ledger.triggers.remove(model, name, current_author(), current_origin())
        return trigger_list(store, ledger, model)

    return views


def check_job(store: Store, model: str, trigger: Trigger) -> None:
    """Checks a trigger's job against the catalog; raises its errors, or ``NoTrainer``."""
    from modelyard.services.jobs import require_catalog  # loads Celery

    known = require_catalog(current_principal().filter_catalog(read_catalog(store.root)))
    known.find(model).check_recipe(trigger.job.recipe, trigger.job.overrides)


def is_known(store: Store, model: str) -> bool:
    """Whether a model has versions or can be trained; raises ``UnknownName`` for what can be no model's name."""
    if store.versions(model):
        return True
    known = read_catalog(store.root)
    return known is not None and model in known.trainable


def trigger_list(store: Store, ledger: Ledger, model: str, *, known: bool = True) -> TriggerList:
    """Those of a model; raises ``UnknownName`` if nothing else is known of it and it has none."""
    found = ledger.triggers.list_triggers(model)
    if not found and not known:
        raise UnknownName(f"unknown model {model[:64]!r}")
    return TriggerList.model_construct(triggers=[trigger_response(store, ledger, trigger) for trigger in found])


def trigger_response(store: Store, ledger: Ledger, stored: "StoredTrigger") -> TriggerResponse:
    """The response of a trigger, not validated: another release may have accepted other values."""
    now = datetime.now(UTC)
    try:
        trigger = Trigger.model_validate(stored.body)
    except ValidationError:
        trigger = None
    firings = ledger.triggers.list_firings(stored.model, stored.name, SHOWN_FIRINGS)
    return TriggerResponse.model_construct(
        **stored.body,
        model=stored.model,
        name=stored.name,
        since=stored.since,
        fired_at=stored.fired_at,
        job_id=stored.job_id,
        condition=condition_response(store, ledger, stored, trigger, now) if trigger else None,
        next_at=list(list_next_times(stored, trigger, now, SHOWN_TIMES)) if trigger else [],
        firings=[FiringResponse.model_validate(firing) for firing in firings],
    )


def condition_response(
    store: Store, ledger: Ledger, stored: "StoredTrigger", trigger: Trigger, now: datetime
) -> ConditionResponse:
    try:
        found = check_condition(stored, trigger, store, ledger, now)
    except CorruptData as error:  # of the rollout: which version is stable is not known
        return ConditionResponse(due=False, reason=str(error), value=None, limit=None, held_back="")
    held_back = find_hold(stored, trigger, ledger, now)
    return ConditionResponse(**vars(found), held_back=held_back)


def drift_response(store: Store, drift: "Drift") -> DriftResponse:
    """The drift with the histograms of the version's evaluation, if that is still there."""
    from modelyard.models.registry.reference import read_reference

    try:
        reference = read_reference(store.path(drift.model, drift.version))
    except CorruptData:
        reference = None
    series = reference.series if reference else {}
    largest_first = sorted(drift.shifts.items(), key=lambda named: -(named[1]["psi"] or 0.0))
    shifts = {
        name: make_shift(moved, series.get(name) if number < MAX_HISTOGRAMS else None)
        for number, (name, moved) in enumerate(largest_first)
    }
    return DriftResponse(model=drift.model, version=drift.version, answers=drift.answers, shifts=shifts, at=drift.at)


def make_shift(moved: Mapping[str, Any], reference: "Histogram | Shares | None") -> ShiftResponse:
    """Without counts where the ledger has none, or where their bins are not those of the reference."""
    shift, seen = ShiftResponse(psi=moved["psi"] or 0.0, p_value=moved.get("p_value")), moved.get("seen")
    if reference is None or seen is None or len(seen) != len(reference.counts):
        return shift
    known = {"reference": list(reference.counts), "seen": list(seen)}
    if edges := getattr(reference, "edges", None):
        return shift.model_copy(update=known | {"edges": list(edges), "missing": getattr(reference, "missing", False)})
    return shift.model_copy(update=known | {"values": list(getattr(reference, "values", ()))})
