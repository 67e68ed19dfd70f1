"""Searches over HTTP: ask for one, list them, show one, end one. The scheduler takes their steps."""

import hashlib
import secrets
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

from flask import Blueprint, request

from modelyard.models.catalog import read_catalog
from modelyard.models.registry.store import Store
from modelyard.services.gateway.api.jobs import KEY_HEADER, MAX_BODY_BYTES, Desk, idempotency_key
from modelyard.services.gateway.auth import principal as callers
from modelyard.services.gateway.http.body import read_body
from modelyard.services.gateway.http.json_body import parse_json_body
from modelyard.services.gateway.settings import GatewaySettings

if TYPE_CHECKING:
    from modelyard.services.ledger import Job
    from modelyard.services.ledger.searches import Search, Searches
    from modelyard.services.searches import Plan


class SearchDesk:
    """Where searches are handed in; connected at the first use."""

    def __init__(self, settings: GatewaySettings, store: Store) -> None:
        self._settings, self._store = settings, store
        self._jobs_desk = Desk(settings, store)

    @cached_property
    def searches(self) -> "Searches":
        from modelyard.services.ledger.searches import Searches

        return Searches(self._settings.ledger)

    def submit(self, body: bytes, by: str, key: str | None) -> dict[str, Any]:
        """Accepts a search, or says what is wrong with it; once for each key."""
        from modelyard.services.jobs import announced
        from modelyard.services.searches import SearchAsked, plan

        asked, caller = parse_json_body(SearchAsked, body), callers.current()
        known = announced(caller.catalog(read_catalog(self._store.root)))
        planned = plan(asked, known.find(asked.model))
        number = search_id(caller.own(key))
        return self._shown(self.searches.add(number, asked.model, by, planned.model_dump(mode="json")))

    def shown(self, search_id: str) -> dict[str, Any]:
        """Raises ``UnknownName``, also for one of a model that the caller does not see."""
        return self._shown(self.searches.search(search_id, callers.current().scope))

    def listed(self) -> list[dict[str, Any]]:
        return [self._shown(search) for search in self.searches.all(limit=50, models=callers.current().scope)]

    def cancel(self, search_id: str, by: str) -> dict[str, Any]:
        """Ends a search that runs, with all its jobs; one that has ended stays as it is.

        Raises:
            UnknownName: there is none that the caller may end.
        """
        from modelyard.services.ledger import TooLate
        from modelyard.services.ledger.searches import CANCELLED

        scope, owner = callers.current().scope, callers.owner()
        while not (search := self.searches.search(search_id, scope, owner)).finished_at:
            self.searches.end(search, CANCELLED, f"cancelled by {by}")
        for job in self._jobs(search_id).values() if search.state == CANCELLED else ():
            with suppress(TooLate):
                self._jobs_desk.ledger.cancel(job.id, by)
        return self._shown(search)

    def _jobs(self, search_id: str) -> "Mapping[str, Job]":
        return {job.id: job for job in self._jobs_desk.ledger.jobs(group=search_id, limit=1000)}

    def _shown(self, search: "Search") -> dict[str, Any]:
        from modelyard.services.searches import Plan

        return shown(search, Plan.model_validate(search.plan), self._jobs(search.id))


def routes(settings: GatewaySettings, store: Store) -> Blueprint:
    """The views under ``/api/searches``."""
    desk = SearchDesk(settings, store)
    views = Blueprint("searches", __name__)

    @views.post("/api/searches")
    def submit() -> tuple[dict[str, Any], int, dict[str, str]]:
        body, key = read_body(request, MAX_BODY_BYTES), idempotency_key(request.headers.get(KEY_HEADER))
        search = desk.submit(body, callers.author(), key)
        return search, 202, {"Location": f"/api/searches/{search['id']}"}

    @views.get("/api/searches")
    def listed() -> dict[str, Any]:
        return {"searches": desk.listed()}

    @views.get("/api/searches/<search_id>")
    def one(search_id: str) -> dict[str, Any]:
        return desk.shown(search_id)

    @views.post("/api/searches/<search_id>:cancel")
    def cancel(search_id: str) -> dict[str, Any]:
        return desk.cancel(search_id, callers.author())

    return views


def search_id(key: str | None) -> str:
    """The same for the same key, so that a request that comes again is the same search."""
    number = hashlib.sha256(key.encode()).hexdigest()[:16] if key is not None else secrets.token_hex(8)
    return f"search-{number}"


def shown(search: "Search", plan: "Plan", jobs: "Mapping[str, Job]") -> dict[str, Any]:
    """A search as callers see it: its rungs, with what each trial reached so far."""
    from modelyard.services.searches import value_of

    def tried(trial: int, job_id: str) -> dict[str, Any]:
        job = jobs[job_id]
        value = value_of(plan, job.result)
        return {"trial": trial, "job": job_id, "state": job.state, "value": value, "version": job.result.get("version")}

    begun = [[tried(each.trial, each.job) for each in rung] for rung in search.rungs]
    begun += [[] for _ in plan.rungs[len(begun) :]]
    rungs = [rung.model_dump() | {"tried": found} for rung, found in zip(plan.rungs, begun, strict=True)]
    best = begun[-1][0]["trial"] if begun[-1] else None
    return {
        "id": search.id,
        "model": search.model,
        "by": search.by,
        "state": search.state,
        "reason": search.reason,
        "metric": plan.metric,
        "asked": plan.asked.model_dump(),
        "values": list(plan.values),
        "rungs": rungs,
        "jobs": Counter(job.state.value for job in jobs.values()),
        "best": None if best is None else {**begun[-1][0], "values": plan.values[best]},
        "created_at": search.created_at,
        "finished_at": search.finished_at,
    }
