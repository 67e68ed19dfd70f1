"""``/api/models/NAME/triggers`` and ``/drift``: what starts jobs by itself, and one of its reasons."""

from functools import cached_property
from typing import TYPE_CHECKING, Any

from flask import Blueprint, request

from modelyard.models.catalog import read_catalog
from modelyard.models.registry.store import Store
from modelyard.services.gateway.auth import principal as callers
from modelyard.services.gateway.http.body import read_body
from modelyard.services.gateway.http.json_body import parse_json_body
from modelyard.services.gateway.serving.canary_counts import CanaryCounts
from modelyard.services.gateway.settings import GatewaySettings

if TYPE_CHECKING:
    from modelyard.services.ledger.triggers import Kept, Triggers

MAX_BODY_BYTES = 16 * 1024


class Board:
    """Where triggers are kept; connected at the first use."""

    def __init__(self, settings: GatewaySettings, store: Store) -> None:
        self._settings, self._store = settings, store

    @cached_property
    def triggers(self) -> "Triggers":
        from modelyard.services.ledger.triggers import Triggers

        return Triggers(self._settings.ledger)

    def put(self, model: str, name: str, body: bytes) -> "Kept":
        """Sets a trigger.

        Raises:
            ModelyardError: what is wrong with it, as of a job; or nobody has said yet what can be trained.
        """
        from modelyard.services.jobs import announced
        from modelyard.services.triggers import Trigger

        asked = parse_json_body(Trigger, body)
        known = announced(callers.current().catalog(read_catalog(self._store.root)))
        known.find(model).check_recipe(asked.job.recipe, asked.job.overrides)
        return self.triggers.put(model, name, asked.model_dump(exclude_defaults=True))


def routes(settings: GatewaySettings, store: Store, canary_counts: CanaryCounts) -> Blueprint:
    """The views."""
    board = Board(settings, store)
    views = Blueprint("triggers", __name__)

    @views.get("/api/models/<model>/triggers")
    def listed(model: str) -> dict[str, Any]:
        return {"triggers": [shown(trigger) for trigger in board.triggers.all(model)]}

    @views.get("/api/models/<model>/drift")
    def drift(model: str) -> dict[str, Any]:
        for found in canary_counts.drift(model):
            return {**vars(found)}
        return {"model": model, "version": None, "answers": 0, "shifts": {}, "at": None}

    @views.put("/api/models/<model>/triggers/<label:name>")
    def put(model: str, name: str) -> dict[str, Any]:
        return shown(board.put(model, name, read_body(request, MAX_BODY_BYTES)))

    @views.delete("/api/models/<model>/triggers/<label:name>")
    def remove(model: str, name: str) -> dict[str, Any]:
        board.triggers.remove(model, name)
        return {"triggers": [shown(trigger) for trigger in board.triggers.all(model)]}

    return views


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
