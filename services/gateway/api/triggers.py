"""``/api/models/NAME/triggers`` and ``/drift``: conditions that start jobs, and the drift that one of them reads."""

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from flask import Blueprint

from modelyard.models.catalog import read_catalog
from modelyard.models.errors import UnknownName
from modelyard.models.registry.store import Store
from modelyard.services.gateway.auth.principal import current_author, current_origin, current_principal
from modelyard.services.gateway.http.json_body import Body
from modelyard.services.gateway.http.operation import json_view
from modelyard.services.ledger import Ledger
from modelyard.services.triggers import Trigger

if TYPE_CHECKING:
    from modelyard.services.ledger.triggers import StoredTrigger


class TriggerRequest(Trigger):
    """One of ``cron`` (five fields, in UTC), ``feedback``, ``quality`` and ``psi`` (drift), and the job."""


class TriggerResponse(TriggerRequest):
    """A trigger as it was set, and the job that it started last."""

    model: str
    name: str
    since: datetime
    fired_at: datetime | None
    job_id: str | None


class TriggerList(Body):
    """In order of name."""

    triggers: list[TriggerResponse]


class ShiftResponse(Body):
    """How far a histogram has moved."""

    psi: float
    p_value: float | None


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
        return trigger_list(ledger, model) if is_known(store, model) else require_triggers(ledger, model)

    @views.get("/api/models/<model>/drift")
    @json_view(errors=(404,))
    def get_drift(model: str) -> DriftResponse:
        """Read the drift of a model's inputs and outputs."""
        if not is_known(store, model):
            raise UnknownName(f"unknown model {model[:64]!r}")
        for drift in ledger.observations.list_drift(model):
            largest_first = sorted(drift.shifts.items(), key=lambda named: -(named[1]["psi"] or 0.0))
            return DriftResponse.model_validate(replace(drift, shifts=dict(largest_first)))
        return DriftResponse(model=model, version=None, answers=0, shifts={}, at=None)

    @views.put("/api/models/<model>/triggers/<label:name>")
    @json_view(exclude_unset=True, errors=(404,))
    def put_trigger(model: str, name: str, body: TriggerRequest) -> TriggerResponse:
        """Set a trigger: a schedule, enough feedback, drift, or quality below a floor."""
        check_job(store, model, body)
        trigger, by = body.model_dump(exclude_defaults=True), current_author()
        return trigger_response(ledger.triggers.put(model, name, trigger, by, current_origin()))

    @views.delete("/api/models/<model>/triggers/<label:name>")
    @json_view(exclude_unset=True, errors=(404,))
    def remove_trigger(model: str, name: str) -> TriggerList:
        """Remove a trigger."""
        ledger.triggers.remove(model, name, current_author(), current_origin())
        return trigger_list(ledger, model)

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


def require_triggers(ledger: Ledger, model: str) -> TriggerList:
    """Triggers that were set for a model which is gone since; raises ``UnknownName`` if there are none."""
    found = trigger_list(ledger, model)
    if not found.triggers:
        raise UnknownName(f"unknown model {model[:64]!r}")
    return found


def trigger_list(ledger: Ledger, model: str) -> TriggerList:
    return TriggerList.model_construct(
        triggers=[trigger_response(trigger) for trigger in ledger.triggers.list_triggers(model)]
    )


def trigger_response(trigger: "StoredTrigger") -> TriggerResponse:
    """The response of a trigger, not validated: another release may have accepted other values."""
    return TriggerResponse.model_construct(
        **trigger.body,
        model=trigger.model,
        name=trigger.name,
        since=trigger.since,
        fired_at=trigger.fired_at,
        job_id=trigger.job_id,
    )
