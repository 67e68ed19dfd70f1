"""Training jobs over HTTP: accept one, list them, show one. Others do the work; the ledger knows how it goes."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, request
from werkzeug.datastructures import MultiDict

from modelyard.models import catalog
from modelyard.models.errors import ModelyardError
from modelyard.models.registry.store import Store
from modelyard.services.gateway.api import job_events
from modelyard.services.gateway.api.job_events import Streams
from modelyard.services.gateway.auth import principal as callers
from modelyard.services.gateway.http.body import read_body
from modelyard.services.gateway.http.json_body import parse_json_body
from modelyard.services.ledger import Event, Job, JobRequest, Ledger, State

if TYPE_CHECKING:
    from celery import Celery


MAX_BODY_BYTES = 64 * 1024
MAX_LISTED = 200
LAST_EVENT_HEADER = "Last-Event-ID"
EVENT_ID = re.compile(r"[0-9]{1,18}")
KEY_HEADER = "Idempotency-Key"
"""draft-ietf-httpapi-idempotency-key-header."""
KEY = re.compile(r"[!-~]([ -~]{0,253}[!-~])?")


class InvalidJob(ModelyardError):
    """A header or parameter that cannot be understood; names it."""

    status = 400


class NotEnded(ModelyardError):
    """A job that cannot be tried again yet."""

    status = 409


def routes(store: Store, ledger: Ledger, queue: "Callable[[], Celery]", streams: Streams) -> Blueprint:
    """The views under ``/api/jobs``. ``queue`` connects to the broker at its first call: predictions need none."""
    views = Blueprint("training", __name__)

    @views.post("/api/jobs")
    def submit() -> tuple[dict[str, Any], int, dict[str, str]]:

        asked = parse_json_body(JobRequest, read_body(request, MAX_BODY_BYTES))
        job = accept_job(store, ledger, queue, asked)
        return shown(job), 202, {"Location": f"/api/jobs/{job.id}"}

    @views.get("/api/jobs")
    def listed() -> dict[str, Any]:
        asked = wanted(request.args)
        limit = asked["limit"]
        jobs = ledger.jobs.find(**asked | {"limit": limit + 1}, models=callers.current().scope)
        shown_jobs = [shown(job) for job in jobs[:limit]]
        return {"jobs": shown_jobs, "next": shown_jobs[-1]["id"] if len(jobs) > limit else None}

    @views.get("/api/jobs/<job_id>")
    def one(job_id: str) -> dict[str, Any]:
        job, events = ledger.jobs.get(job_id, callers.current().scope), ledger.jobs.events(job_id)
        return shown(job) | {"events": [vars(event) for event in events]}

    @views.get("/api/jobs/<job_id>/events")
    def events(job_id: str) -> Response:
        caller = callers.current()

        def look(after: int) -> tuple[Job, Sequence[Event]]:
            return ledger.jobs.get(job_id, caller.scope), ledger.jobs.events(job_id, after)

        after = last_event(request.headers.get(LAST_EVENT_HEADER))
        told = streams.follow(look, after, request.environ, caller.is_welcome)
        return Response(status=204) if told is None else Response(told, mimetype=job_events.TYPE)

    @views.get("/api/jobs/<job_id>/log")
    def log(job_id: str) -> Response:
        job = ledger.jobs.get(job_id, callers.current().scope)
        return Response(ledger.logs.read(job.id), mimetype="text/plain")

    @views.post("/api/jobs/<job_id>:retry")
    def retry(job_id: str) -> tuple[dict[str, Any], int, dict[str, str]]:

        ended = own_job(ledger, job_id)
        if not ended.finished_at:
            raise NotEnded(f"{job_id} is {ended.state}; only a job that has ended can be tried again")
        asked = JobRequest.model_validate({name: getattr(ended, name) for name in JobRequest.model_fields})
        job = accept_job(store, ledger, queue, asked, retry_of=job_id)
        return shown(job), 202, {"Location": f"/api/jobs/{job.id}"}

    @views.post("/api/jobs/<job_id>:cancel")
    def cancel(job_id: str) -> dict[str, Any]:
        return shown(ledger.jobs.cancel(own_job(ledger, job_id).id, callers.author()))

    return views


def accept_job(
    store: Store, ledger: Ledger, queue: "Callable[[], Celery]", asked: JobRequest, retry_of: str | None = None
) -> Job:
    """Accepts a job of this request, once for each idempotency key; raises what is wrong with it."""
    from modelyard.services import jobs

    caller, key = callers.current(), idempotency_key(request.headers.get(KEY_HEADER))
    known = caller.catalog(catalog.read(store.root))
    return jobs.accept(known, ledger, queue(), asked, callers.author(), key=caller.own(key), retry_of=retry_of)


def own_job(ledger: Ledger, job_id: str) -> Job:
    """A job that the principal may end or retry; raises ``UnknownName``: anybody else's is not there."""
    return ledger.jobs.get(job_id, callers.current().scope, by=callers.owner())


FILTERS = ("model", "group", "state", "limit", "before")


def wanted(asked: MultiDict[str, str]) -> dict[str, Any]:
    """Which jobs to list, as ``Jobs.find`` takes it: of a model or search, in some states, how many, older than one.

    Raises:
        InvalidJob: names the parameter, and what it may be.
    """
    for name in asked:
        if name not in FILTERS:
            raise InvalidJob(f"unknown parameter {name[:40]!r}; there are {', '.join(FILTERS)}")
    for state in asked.getlist("state"):
        if state not in list(State):
            raise InvalidJob(f"state: received {state[:40]!r}, allowed: {', '.join(State)}")
    limit = asked.get("limit", default="50")
    if not re.fullmatch(r"[0-9]{1,4}", limit) or not 1 <= int(limit) <= MAX_LISTED:
        raise InvalidJob(f"limit: received {limit[:40]!r}, allowed: 1 to {MAX_LISTED}")
    plain = {name: asked.get(name) for name in ("model", "group", "before")}
    return plain | {"states": asked.getlist("state") or None, "limit": int(limit)}


def idempotency_key(given: str | None) -> str | None:
    """Raises ``InvalidJob`` if it is empty, too long, or not printable ASCII."""
    if given is None:
        return None
    if not KEY.fullmatch(given):
        raise InvalidJob(f"{KEY_HEADER}: expected 1 to 255 printable ASCII characters, received {given[:40]!r}")
    return given


def last_event(given: str | None) -> int:
    """The event to go on after; raises ``InvalidJob`` if that is no event's id."""
    if not given:
        return 0
    if not EVENT_ID.fullmatch(given):
        raise InvalidJob(f"{LAST_EVENT_HEADER}: expected the id of an event, received {given[:40]!r}")
    return int(given)


def shown(job: Job) -> dict[str, Any]:
    """A job as callers see it; ``stage``, ``epoch`` and ``metrics`` are lifted out of its progress."""
    progress: Mapping[str, Any] = job.progress
    return {
        **vars(job),
        "stage": progress.get("stage"),
        "epoch": progress.get("epoch"),
        "metrics": job.result.get("metrics") or progress.get("metrics") or {},
        "version": job.result.get("version"),
    }
