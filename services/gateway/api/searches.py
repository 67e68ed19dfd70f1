"""Searches over HTTP: submit, list, read, cancel. The scheduler takes their steps."""

import hashlib
import secrets
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from flask import Blueprint, request

from modelyard.models.catalog import read_catalog
from modelyard.models.registry.store import Store
from modelyard.services.gateway.api.jobs import IDEMPOTENCY_KEY_HEADER, MAX_BODY_BYTES, parse_idempotency_key
from modelyard.services.gateway.api.submission_limit import take_submission
from modelyard.services.gateway.auth.principal import current_author, current_origin, current_owner, current_principal
from modelyard.services.gateway.http.json_body import Body
from modelyard.services.gateway.http.operation import json_view
from modelyard.services.gateway.limits.rate_limits import RateLimits
from modelyard.services.ledger import Job, Ledger, TooLate
from modelyard.services.queues import NO_TRAINER, explain_wait
from modelyard.services.searches import Plan, SearchRequest, make_plan, read_metric

if TYPE_CHECKING:
    from modelyard.services.ledger.searches import Search

MAX_SEARCHES = 50


class TrialResponse(Body):
    """A trial in a rung; ``value`` is the metric on the validation split."""

    trial: int
    job: str
    state: str
    value: float | None
    version: int | None


class RungResponse(Body):
    """Number and length of a rung's trainings, and the results of those that have begun."""

    trials: int
    epochs: int
    min_steps: int
    tried: list[TrialResponse]


class BestTrial(TrialResponse):
    """The last trial, and its recipe values."""

    values: dict[str, Any]


class SearchResponse(Body):
    """A search and its state; ``waits_for``: the worker that its jobs lack, null if they lack none."""

    id: str
    model: str
    by: str
    state: Literal["running", "succeeded", "failed", "cancelled"]
    reason: str
    metric: str
    asked: SearchRequest
    values: list[dict[str, Any]]
    rungs: list[RungResponse]
    jobs: dict[str, int]
    waits_for: str | None
    best: BestTrial | None
    created_at: datetime
    finished_at: datetime | None


class SearchList(Body):
    """The newest first."""

    searches: list[SearchResponse]


def routes(store: Store, ledger: Ledger, limits: RateLimits) -> Blueprint:
    """The views under ``/api/searches``."""
    views = Blueprint("searches", __name__)

    @views.post("/api/searches")
    @json_view(
        status=202,
        max_body_bytes=MAX_BODY_BYTES,
        location="/api/searches/{id}",
        parameters=(IDEMPOTENCY_KEY_HEADER,),
        errors=(404, 422, 429),
    )
    def submit_search(body: SearchRequest) -> SearchResponse:
        """Submit a search over the ranges that a model declares."""
        return search_response(accept_search(store, ledger, limits, body), ledger)

    @views.get("/api/searches")
    @json_view()
    def list_searches() -> SearchList:
        """Searches, the newest first."""
        found = ledger.searches.find(limit=MAX_SEARCHES, models=current_principal().visible_models)
        return SearchList(searches=[search_response(search, ledger) for search in found])

    @views.get("/api/searches/<search_id>")
    @json_view(errors=(404,))
    def get_search(search_id: str) -> SearchResponse:
        """A search, its rungs and the results of trials."""
        return search_response(ledger.searches.get(search_id, current_principal().visible_models), ledger)

    @views.post("/api/searches/<search_id>:cancel")
    @json_view(errors=(404,))
    def end_search(search_id: str) -> SearchResponse:
        """Cancel a search and all its jobs."""
        return search_response(cancel_search(ledger, search_id, current_author()), ledger)

    return views


def accept_search(store: Store, ledger: Ledger, limits: RateLimits, body: SearchRequest) -> "Search":
    """Accepts a request for a search, once for each idempotency key; raises its errors."""
    from modelyard.services.jobs import require_catalog  # loads Celery

    principal, key = current_principal(), parse_idempotency_key(request.headers)
    known = require_catalog(principal.filter_catalog(read_catalog(store.root)))
    planned = make_plan(body, known.find(body.model))
    take_submission(limits)
    number = choose_id(principal.scope_key(key))
    plan = planned.model_dump(mode="json")
    return ledger.searches.add(number, body.model, current_author(), plan, current_origin())


def cancel_search(ledger: Ledger, search_id: str, by: str) -> "Search":
    """Cancels a running search and all its jobs; one that has ended stays as it is.

    Raises:
        UnknownName: there is none that the principal may cancel.
    """
    from modelyard.services.ledger.searches import CANCELLED

    scope, owner, origin = current_principal().visible_models, current_owner(), current_origin()
    while not (search := ledger.searches.get(search_id, scope, owner)).finished_at:
        ledger.searches.cancel(search, by, origin)
    for job in find_jobs(ledger, search_id) if search.state == CANCELLED else ():
        with suppress(TooLate):
            ledger.jobs.cancel(job.id, by, origin)
    return search


def find_jobs(ledger: Ledger, search_id: str) -> tuple[Job, ...]:
    return ledger.jobs.find(group=search_id, limit=1000)


def choose_id(key: str | None) -> str:
    """A search's id, the same for the same key, so that a repeated request is the same search."""
    number = hashlib.sha256(key.encode()).hexdigest()[:16] if key is not None else secrets.token_hex(8)
    return f"search-{number}"


def search_response(search: "Search", ledger: Ledger) -> SearchResponse:
    """A search with its rungs, and the results of trials so far."""
    plan, jobs = Plan.model_validate(search.plan), {job.id: job for job in find_jobs(ledger, search.id)}
    begun = [[trial_response(plan, each.trial, jobs[each.job]) for each in rung] for rung in search.rungs]
    begun += [[] for _ in plan.rungs[len(begun) :]]
    best = begun[-1][0] if begun[-1] else None
    return SearchResponse(
        id=search.id,
        model=search.model,
        by=search.by,
        state=search.state,
        reason=search.reason,
        metric=plan.metric,
        asked=plan.asked,
        values=list(plan.values),
        rungs=[RungResponse(**vars(rung), tried=tried) for rung, tried in zip(plan.rungs, begun, strict=True)],
        jobs=Counter(job.state.value for job in jobs.values()),
        waits_for=None if search.finished_at else explain_waits(ledger, jobs.values()),
        best=BestTrial(**vars(best), values=plan.values[best.trial]) if best else None,
        created_at=search.created_at,
        finished_at=search.finished_at,
    )


def explain_waits(ledger: Ledger, jobs: Iterable[Job]) -> str | None:
    """The worker that one of the jobs lacks; before there are any, whether there is a trainer at all."""
    workers, begun = ledger.workers.list_alive(), [job for job in jobs if not job.finished_at]
    if not begun:
        return None if workers else NO_TRAINER
    return next((text for job in begun if (text := explain_wait(job, workers))), None)


def trial_response(plan: Plan, trial: int, job: Job) -> TrialResponse:
    return TrialResponse(
        trial=trial, job=job.id, state=job.state, value=read_metric(plan, job.result), version=job.result.get("version")
    )
