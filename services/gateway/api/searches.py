"""Searches over HTTP: ask for one, list them, show one, end one. The scheduler takes their steps."""

import hashlib
import secrets
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from flask import Blueprint, request

from modelyard.models import catalog
from modelyard.models.registry.store import Store
from modelyard.services.gateway.api.jobs import KEY_HEADER, MAX_BODY_BYTES, idempotency_key
from modelyard.services.gateway.auth import principal as callers
from modelyard.services.gateway.http.body import read_body
from modelyard.services.gateway.http.json_body import parse_json_body
from modelyard.services.ledger import Job, Ledger, TooLate

if TYPE_CHECKING:
    from modelyard.services.ledger.searches import Search
    from modelyard.services.searches import SearchRequest


def routes(store: Store, ledger: Ledger) -> Blueprint:
    """The views under ``/api/searches``."""
    views = Blueprint("searches", __name__)

    @views.post("/api/searches")
    def submit() -> tuple[dict[str, Any], int, dict[str, str]]:
        from modelyard.services.searches import SearchRequest

        asked = parse_json_body(SearchRequest, read_body(request, MAX_BODY_BYTES))
        search = accept_search(store, ledger, asked)
        return shown(search, ledger), 202, {"Location": f"/api/searches/{search.id}"}

    @views.get("/api/searches")
    def listed() -> dict[str, Any]:
        found = ledger.searches.find(limit=50, models=callers.current().scope)
        return {"searches": [shown(search, ledger) for search in found]}

    @views.get("/api/searches/<search_id>")
    def one(search_id: str) -> dict[str, Any]:
        return shown(ledger.searches.get(search_id, callers.current().scope), ledger)

    @views.post("/api/searches/<search_id>:cancel")
    def cancel(search_id: str) -> dict[str, Any]:
        return shown(cancel_search(ledger, search_id, callers.author()), ledger)

    return views


def accept_search(store: Store, ledger: Ledger, asked: "SearchRequest") -> "Search":
    """Accepts a search of this request, once for each idempotency key; raises what is wrong with it."""
    from modelyard.services.jobs import announced
    from modelyard.services.searches import plan

    caller, key = callers.current(), idempotency_key(request.headers.get(KEY_HEADER))
    known = announced(caller.catalog(catalog.read(store.root)))
    planned = plan(asked, known.find(asked.model))
    number = search_id(caller.own(key))
    return ledger.searches.add(number, asked.model, callers.author(), planned.model_dump(mode="json"))


def cancel_search(ledger: Ledger, search_id: str, by: str) -> "Search":
    """Ends a search that runs, with all its jobs; one that has ended stays as it is.

    Raises:
        UnknownName: there is none that the principal may end.
    """
    from modelyard.services.ledger.searches import CANCELLED

    scope, owner = callers.current().scope, callers.owner()
    while not (search := ledger.searches.get(search_id, scope, owner)).finished_at:
        ledger.searches.end(search, CANCELLED, f"cancelled by {by}")
    for job in jobs_of(ledger, search_id) if search.state == CANCELLED else ():
        with suppress(TooLate):
            ledger.jobs.cancel(job.id, by)
    return search


def jobs_of(ledger: Ledger, search_id: str) -> tuple[Job, ...]:
    return ledger.jobs.find(group=search_id, limit=1000)


def search_id(key: str | None) -> str:
    """The same for the same key, so that a request that comes again is the same search."""
    number = hashlib.sha256(key.encode()).hexdigest()[:16] if key is not None else secrets.token_hex(8)
    return f"search-{number}"


def shown(search: "Search", ledger: Ledger) -> dict[str, Any]:
    """A search as callers see it: its rungs, with what each trial reached so far."""
    from modelyard.services.searches import Plan, value_of

    plan, jobs = Plan.model_validate(search.plan), {job.id: job for job in jobs_of(ledger, search.id)}

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
