"""Training jobs over HTTP: accept one, list them, show one. Others do the work; the ledger knows how it goes."""

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, request
from werkzeug.datastructures import MultiDict

from modelyard.models.catalog import read_catalog
from modelyard.models.errors import ModelyardError
from modelyard.models.registry.store import Store
from modelyard.services.gateway.api import job_events
from modelyard.services.gateway.api.job_events import Streams
from modelyard.services.gateway.auth import principal as callers
from modelyard.services.gateway.http.body import read_body
from modelyard.services.gateway.http.json_body import parse_json_body
from modelyard.services.gateway.settings import GatewaySettings

if TYPE_CHECKING:
    from celery import Celery

    from modelyard.services.jobs import TrainJob
    from modelyard.services.ledger import Event, Job, Ledger

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


class Desk:
    """Where jobs are handed in. Ledger and broker are connected at the first job: predictions need neither."""

    def __init__(self, settings: GatewaySettings, store: Store) -> None:
        self._settings, self._store = settings, store

    @cached_property
    def ledger(self) -> "Ledger":
        from modelyard.services.ledger import Ledger

        return Ledger(self._settings.ledger)

    @cached_property
    def queue(self) -> "Celery":
        from modelyard.services.broker import sender

        return sender(self._settings.broker)

    def submit(self, body: bytes, by: str, key: str | None) -> "Job":
        """Accepts a job, or says what is wrong with it; once for each key."""
        from modelyard.services import jobs

        return self._accept(parse_json_body(jobs.TrainJob, body), by, key)

    def seen(self, job_id: str) -> "Job":
        """A job that the caller may know of; raises ``UnknownName``."""
        return self.ledger.job(job_id, callers.current().scope)

    def owned(self, job_id: str) -> "Job":
        """A job that the caller may end or retry; raises ``UnknownName``: anybody else's is not there."""
        return self.ledger.job(job_id, callers.current().scope, by=callers.owner())

    def retry(self, job_id: str, by: str, key: str | None) -> "Job":
        """Accepts a job that has ended once more, as a new one.

        Raises:
            NotEnded: it may still end well.
        """
        from modelyard.services import jobs

        job = self.owned(job_id)
        if not job.finished_at:
            raise NotEnded(f"{job_id} is {job.state}; only a job that has ended can be tried again")
        asked = jobs.TrainJob.model_validate({name: getattr(job, name) for name in jobs.TrainJob.model_fields})
        return self._accept(asked, by, key, retry_of=job_id)

    def _accept(self, asked: "TrainJob", by: str, key: str | None, retry_of: str | None = None) -> "Job":
        from modelyard.services import jobs

        caller = callers.current()
        known = caller.catalog(read_catalog(self._store.root))
        return jobs.accept(known, self.ledger, self.queue, asked, by, key=caller.own(key), retry_of=retry_of)


def routes(settings: GatewaySettings, store: Store, streams: Streams) -> Blueprint:
    """The views under ``/api/jobs``."""
    desk = Desk(settings, store)
    views = Blueprint("training", __name__)

    @views.post("/api/jobs")
    def submit() -> tuple[dict[str, Any], int, dict[str, str]]:
        body, key = read_body(request, MAX_BODY_BYTES), idempotency_key(request.headers.get(KEY_HEADER))
        job = desk.submit(body, callers.author(), key)
        return shown(job), 202, {"Location": f"/api/jobs/{job.id}"}

    @views.get("/api/jobs")
    def listed() -> dict[str, Any]:
        from modelyard.services.ledger import State

        asked = wanted(request.args, [state.value for state in State])
        limit = asked["limit"]
        jobs = desk.ledger.jobs(**asked | {"limit": limit + 1}, models=callers.current().scope)
        shown_jobs = [shown(job) for job in jobs[:limit]]
        return {"jobs": shown_jobs, "next": shown_jobs[-1]["id"] if len(jobs) > limit else None}

    @views.get("/api/jobs/<job_id>")
    def one(job_id: str) -> dict[str, Any]:
        job, events = desk.seen(job_id), desk.ledger.events(job_id)
        return shown(job) | {"events": [vars(event) for event in events]}

    @views.get("/api/jobs/<job_id>/events")
    def events(job_id: str) -> Response:
        caller = callers.current()

        def look(after: int) -> "tuple[Job, Sequence[Event]]":
            return desk.ledger.job(job_id, caller.scope), desk.ledger.events(job_id, after)

        after = last_event(request.headers.get(LAST_EVENT_HEADER))
        told = streams.follow(look, after, request.environ, caller.is_welcome)
        return Response(status=204) if told is None else Response(told, mimetype=job_events.TYPE)

    @views.get("/api/jobs/<job_id>/log")
    def log(job_id: str) -> Response:
        return Response(desk.ledger.logs.read(desk.seen(job_id).id), mimetype="text/plain")

    @views.post("/api/jobs/<job_id>:retry")
    def retry(job_id: str) -> tuple[dict[str, Any], int, dict[str, str]]:
        job = desk.retry(job_id, callers.author(), idempotency_key(request.headers.get(KEY_HEADER)))
        return shown(job), 202, {"Location": f"/api/jobs/{job.id}"}

    @views.post("/api/jobs/<job_id>:cancel")
    def cancel(job_id: str) -> dict[str, Any]:
        return shown(desk.ledger.cancel(desk.owned(job_id).id, callers.author()))

    return views


FILTERS = ("model", "group", "state", "limit", "before")


def wanted(asked: MultiDict[str, str], states: Sequence[str]) -> dict[str, Any]:
    """Which jobs to list, as ``Ledger.jobs`` takes it: of a model or search, in some states, how many, older than one.

    Raises:
        InvalidJob: names the parameter, and what it may be.
    """
    for name in asked:
        if name not in FILTERS:
            raise InvalidJob(f"unknown parameter {name[:40]!r}; there are {', '.join(FILTERS)}")
    for state in asked.getlist("state"):
        if state not in states:
            raise InvalidJob(f"state: received {state[:40]!r}, allowed: {', '.join(states)}")
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


def shown(job: "Job") -> dict[str, Any]:
    """A job as callers see it; ``stage``, ``epoch`` and ``metrics`` are lifted out of its progress."""
    progress: Mapping[str, Any] = job.progress
    return {
        **vars(job),
        "stage": progress.get("stage"),
        "epoch": progress.get("epoch"),
        "metrics": job.result.get("metrics") or progress.get("metrics") or {},
        "version": job.result.get("version"),
    }
