"""``/api/models/NAME/triggers`` and ``/drift``: what starts jobs by itself, and one of its reasons."""

from typing import TYPE_CHECKING, Any

from flask import Blueprint, request

from modelyard.models import catalog
from modelyard.models.registry.store import Store
from modelyard.services.gateway.auth import principal as callers
from modelyard.services.gateway.http.body import read_body
from modelyard.services.gateway.http.json_body import parse_json_body
from modelyard.services.ledger import Ledger

if TYPE_CHECKING:
    from modelyard.services.ledger.triggers import Kept
    from modelyard.services.triggers import Trigger

MAX_BODY_BYTES = 16 * 1024


def routes(store: Store, ledger: Ledger) -> Blueprint:
    """The views."""
    views = Blueprint("triggers", __name__)

    @views.get("/api/models/<model>/triggers")
    def listed(model: str) -> dict[str, Any]:
        return {"triggers": [shown(trigger) for trigger in ledger.triggers.all(model)]}

    @views.get("/api/models/<model>/drift")
    def drift(model: str) -> dict[str, Any]:
        for found in ledger.observations.drift(model):
            return {**vars(found)}
        return {"model": model, "version": None, "answers": 0, "shifts": {}, "at": None}

    @views.put("/api/models/<model>/triggers/<label:name>")
    def put(model: str, name: str) -> dict[str, Any]:
        from modelyard.services.triggers import Trigger

        asked = parse_json_body(Trigger, read_body(request, MAX_BODY_BYTES))
        check_job(store, model, asked)
        return shown(ledger.triggers.put(model, name, asked.model_dump(exclude_defaults=True)))

    @views.delete("/api/models/<model>/triggers/<label:name>")
    def remove(model: str, name: str) -> dict[str, Any]:
        ledger.triggers.remove(model, name)
        return {"triggers": [shown(trigger) for trigger in ledger.triggers.all(model)]}

    return views


def check_job(store: Store, model: str, asked: "Trigger") -> None:
    """Raises what is wrong with a trigger's job; or that nobody has said yet what can be trained."""
    from modelyard.services.jobs import announced

    known = announced(callers.current().catalog(catalog.read(store.root)))
    known.find(model).check(asked.job.recipe, asked.job.overrides)


def shown(trigger: "Kept") -> dict[str, Any]:
    """A trigger as callers see it."""
    return {
        "model": trigger.model,
        "name": trigger.name,
        **trigger.body,
        "since": trigger.since,
        "fired_at": trigger.fired_at,
        "job_id": trigger.job_id,
    }
