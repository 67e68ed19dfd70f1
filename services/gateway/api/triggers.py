"""``/api/models/NAME/triggers`` and ``/drift``: what starts jobs by itself, and one of its reasons."""

from datetime import datetime
from typing import TYPE_CHECKING

from flask import Blueprint

from modelyard.models.catalog import read_catalog
from modelyard.models.registry.store import Store
from modelyard.services.gateway.auth.principal import current_principal
from modelyard.services.gateway.http.json_body import Body
from modelyard.services.gateway.http.operation import json_view
from modelyard.services.ledger import Ledger
from modelyard.services.triggers import Trigger

if TYPE_CHECKING:
    from modelyard.services.ledger.triggers import StoredTrigger


class TriggerRequest(Trigger):
    """One of ``cron`` (five fields, in UTC), ``feedback``, ``quality`` and ``psi`` (drift), and the job."""


class TriggerResponse(TriggerRequest):
    """A trigger as it was asked for, and when it last started which job."""

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
    """How far what the stable version is asked, and answers, has moved from what it was measured on."""

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
        """What starts jobs of a model by itself."""
        return trigger_list(ledger, model)

    @views.get("/api/models/<model>/drift")
    @json_view(errors=(404,))
    def get_drift(model: str) -> DriftResponse:
        """How far inputs and answers have moved from training's."""
        for drift in ledger.observations.drift(model):
            return DriftResponse.model_validate(drift)
        return DriftResponse(model=model, version=None, answers=0, shifts={}, at=None)

    @views.put("/api/models/<model>/triggers/<label:name>")
    @json_view(exclude_unset=True, errors=(404,))
    def put_trigger(model: str, name: str, body: TriggerRequest) -> TriggerResponse:
        """Have jobs started by a schedule, by feedback, or when quality falls."""
        check_job(store, model, body)
        return trigger_response(ledger.triggers.put(model, name, body.model_dump(exclude_defaults=True)))

    @views.delete("/api/models/<model>/triggers/<label:name>")
    @json_view(exclude_unset=True, errors=(404,))
    def remove_trigger(model: str, name: str) -> TriggerList:
        """Have them started no more."""
        ledger.triggers.remove(model, name)
        return trigger_list(ledger, model)

    return views


def check_job(store: Store, model: str, trigger: Trigger) -> None:
    """Raises what is wrong with a trigger's job; or that no trainer has announced what can be trained."""
    from modelyard.services.jobs import announced  # loads Celery

    known = announced(current_principal().catalog(read_catalog(store.root)))
    known.find(model).check_recipe(trigger.job.recipe, trigger.job.overrides)


def trigger_list(ledger: Ledger, model: str) -> TriggerList:
    return TriggerList.model_construct(triggers=[trigger_response(trigger) for trigger in ledger.triggers.all(model)])


def trigger_response(trigger: "StoredTrigger") -> TriggerResponse:
    """What was asked for is not checked once more: another release may have accepted what this one does not."""
    return TriggerResponse.model_construct(
        **trigger.body,
        model=trigger.model,
        name=trigger.name,
        since=trigger.since,
        fired_at=trigger.fired_at,
        job_id=trigger.job_id,
    )
