"""Training jobs over HTTP: accept one, list them, show one. Others do the work; the ledger knows how it goes."""

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, request

from models import catalog
from models.errors import ModelyardError
from models.store import Store
from services.gateway import job_events, json_body, payload
from services.gateway.job_events import Streams
from services.gateway.settings import GatewaySettings

if TYPE_CHECKING:
    from celery import Celery

    from services.ledger import Event, Job, Ledger

MAX_BODY_BYTES = 64 * 1024
MAX_LISTED = 200
LAST_EVENT_HEADER = "Last-Event-ID"
EVENT_ID = re.compile(r"[0-9]{1,18}")
KEY_HEADER = "Idempotency-Key"
"""draft-ietf-httpapi-idempotency-key-header."""
KEY = re.compile(r"[!-~]([ -~]{0,253}[!-~])?")


class InvalidJob(ModelyardError):
    """A header of a job request that cannot be understood."""

    status = 400


class NoTrainer(ModelyardError):
    """No trainer has yet said what can be trained."""

    status = 503


class Desk:
    """Where jobs are handed in. Ledger and broker are connected at the first job: predictions need neither."""

    def __init__(self, settings: GatewaySettings, store: Store) -> None:
        self._settings, self._store = settings, store

    @cached_property
    def ledger(self) -> "Ledger":
        from services.ledger import Ledger

        ledger = Ledger(self._settings.ledger_url)
        ledger.prepare()
        return ledger

    @cached_property
    def queue(self) -> "Celery":
        from services.jobs import sender

        return sender(self._settings.broker_url)

    def submit(self, body: bytes, by: str, key: str | None) -> "Job":
        """Accepts a job, or says what is wrong with it; once for each key."""
        from services import jobs

        asked = json_body.parsed(jobs.TrainJob, body)
        known = catalog.read(self._store.root)
        if known is None:
            raise NoTrainer("no trainer has announced its models yet; try again in a few seconds")
        known.find(asked.model).check(asked.recipe, asked.overrides)
        return jobs.submit(self.ledger, self.queue, asked, by, key)


def routes(settings: GatewaySettings, store: Store, streams: Streams) -> Blueprint:
    """The views under ``/api/jobs``."""
    desk = Desk(settings, store)
    views = Blueprint("training", __name__)

    @views.post("/api/jobs")
    def submit() -> tuple[dict[str, Any], int, dict[str, str]]:
        body, key = payload.read(request, MAX_BODY_BYTES), idempotency_key(request.headers.get(KEY_HEADER))
        job = desk.submit(body, f"http {request.remote_addr}", key)
        return shown(job), 202, {"Location": f"/api/jobs/{job.id}"}

    @views.get("/api/jobs")
    def listed() -> dict[str, Any]:
        limit = request.args.get("limit", default=50, type=int)
        jobs = desk.ledger.jobs(model=request.args.get("model"), limit=max(1, min(limit, MAX_LISTED)))
        return {"jobs": [shown(job) for job in jobs]}

    @views.get("/api/jobs/<job_id>")
    def one(job_id: str) -> dict[str, Any]:
        job, events = desk.ledger.job(job_id), desk.ledger.events(job_id)
        return shown(job) | {"events": [vars(event) for event in events]}

    @views.get("/api/jobs/<job_id>/events")
    def events(job_id: str) -> Response:
        def look(after: int) -> "tuple[Job, Sequence[Event]]":
            return desk.ledger.job(job_id), desk.ledger.events(job_id, after)

        told = streams.follow(look, last_event(request.headers.get(LAST_EVENT_HEADER)), request.environ)
        return Response(status=204) if told is None else Response(told, mimetype=job_events.TYPE)

    @views.post("/api/jobs/<job_id>:cancel")
    def cancel(job_id: str) -> dict[str, Any]:
        return shown(desk.ledger.cancel(job_id, f"http {request.remote_addr}"))

    return views


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
