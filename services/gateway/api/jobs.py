"""Training jobs over HTTP: submit, list, read, retry, cancel."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, request
from werkzeug.datastructures import Headers, MultiDict

from modelyard.models.catalog import read_catalog
from modelyard.models.errors import ModelyardError
from modelyard.models.registry.store import Store
from modelyard.services.gateway.api import job_events
from modelyard.services.gateway.api.job_events import Streams
from modelyard.services.gateway.api.job_history import job_log
from modelyard.services.gateway.api.submission_limit import take_submission
from modelyard.services.gateway.auth.principal import current_author, current_origin, current_owner, current_principal
from modelyard.services.gateway.http.json_body import Body
from modelyard.services.gateway.http.operation import Operation, Parameter, describe_view, json_view
from modelyard.services.gateway.http.query import check_parameters
from modelyard.services.gateway.limits.rate_limits import RateLimits
from modelyard.services.job_stages import list_stages
from modelyard.services.ledger import Event, Job, JobRequest, Ledger, State
from modelyard.services.queues import Workers, explain_wait

if TYPE_CHECKING:
    from celery import Celery


MAX_BODY_BYTES = 64 * 1024
MAX_LIMIT = 200
EVENT_ID = re.compile(r"[0-9]{1,18}")
IDEMPOTENCY_KEY = re.compile(r"[!-~]([ -~]{0,253}[!-~])?")
IDEMPOTENCY_KEY_HEADER = Parameter(
    "Idempotency-Key",  # draft-ietf-httpapi-idempotency-key-header
    "header",
    "The same key and body within a day give the same job.",
    {"type": "string", "pattern": f"^{IDEMPOTENCY_KEY.pattern}$"},
)
LAST_EVENT_HEADER = Parameter(
    "Last-Event-ID", "header", "Go on after this event.", {"type": "string", "pattern": f"^{EVENT_ID.pattern}$"}
)
FILTERS = (
    Parameter("model", "query", "Only jobs of this model.", {"type": "string"}),
    Parameter("group", "query", "Only jobs of this search.", {"type": "string"}),
    Parameter(
        "state",
        "query",
        "Only jobs in this state; may come several times.",
        {"type": "array", "items": {"enum": list(State)}},
    ),
    Parameter(
        "limit", "query", "How many jobs.", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": 50}
    ),
    Parameter("before", "query", "Only jobs older than this one.", {"type": "string", "pattern": "^job-[0-9a-f]{16}$"}),
)
LOCATION = "/api/jobs/{id}"


class InvalidJob(ModelyardError):
    """A malformed header or parameter; the text names it."""

    status = 400


class NotEnded(ModelyardError):
    """A job that cannot be retried yet."""

    status = 409


class JobResponse(Job):
    """A training job; ``stage``, ``epoch``, ``metrics``, ``eta_s`` and ``share`` are lifted out of its progress.

    ``eta_s``: seconds until it has ended, at most if ``eta_at_most``; null while nothing can be said, as in its first
    ten steps. ``share``: how much of its time has gone. ``waits_for`` says which worker it lacks; null if one runs it,
    one can take it, or it has ended.
    """

    stage: str | None
    epoch: int | None
    metrics: dict[str, Any]
    version: int | None
    waits_for: str | None
    eta_s: float | None
    eta_at_most: bool
    share: float | None


class JobEvent(Body):
    """One line of a job's event log."""

    id: int
    at: datetime
    kind: str
    body: dict[str, Any]


class JobStage(Body):
    """One stage of one attempt; ``finished_at`` and ``seconds`` are null while it goes on."""

    stage: str
    attempt: int
    started_at: datetime
    finished_at: datetime | None
    seconds: float | None


class JobWithEvents(JobResponse):
    """A job with its events, and its stages."""

    events: list[JobEvent]
    stages: list[JobStage]


class JobPage(Body):
    """The newest first; ``next`` is the ``before`` of the page after this one."""

    jobs: list[JobResponse]
    next: str | None


def routes(
    store: Store, ledger: Ledger, queue: "Callable[[], Celery]", streams: Streams, limits: RateLimits
) -> Blueprint:
    """The views under ``/api/jobs``. ``queue`` connects to the broker at its first call: predictions need none."""
    views = Blueprint("jobs", __name__)

    @views.post("/api/jobs")
    @json_view(
        status=202,
        max_body_bytes=MAX_BODY_BYTES,
        location=LOCATION,
        parameters=(IDEMPOTENCY_KEY_HEADER,),
        errors=(404, 422, 429),
    )
    def submit_job(body: JobRequest) -> JobResponse:
        """Submit a training job."""
        workers = ledger.workers.list_alive()  # before: a job that was accepted must not be answered with an error
        return job_response(accept_job(store, ledger, queue, limits, body), workers)

    @views.get("/api/jobs")
    @json_view(parameters=FILTERS, errors=(404,))
    def list_jobs() -> JobPage:
        """Jobs, the newest first."""
        filters = parse_filters(request.args)
        limit = filters["limit"]
        jobs = ledger.jobs.find(**filters | {"limit": limit + 1}, models=current_principal().visible_models)
        workers = list_workers(ledger, *jobs)
        page = [job_response(job, workers) for job in jobs[:limit]]
        return JobPage.model_construct(jobs=page, next=page[-1].id if len(jobs) > limit else None)

    @views.get("/api/jobs/<job_id>")
    @json_view(errors=(404,))
    def get_job(job_id: str) -> JobWithEvents:
        """A job and its events."""
        found = ledger.jobs.get(job_id, current_principal().visible_models)
        job = job_response(found, list_workers(ledger, found))
        found_events = ledger.jobs.list_events(job_id, kinds=("state", "progress"))
        events = [JobEvent.model_validate(event) for event in found_events]
        stages = [JobStage.model_validate(stage) for stage in list_stages(found_events)]
        return JobWithEvents.model_construct(**vars(job), events=events, stages=stages)

    @views.get("/api/jobs/<job_id>/events")
    @describe_view(
        Operation(
            "A job's events as they happen (Server-Sent Events); 204 when there will be none.",
            {200: {job_events.TYPE: None}, 204: {}},
            parameters=(LAST_EVENT_HEADER,),
            errors=(404,),
        )
    )
    def stream_events(job_id: str) -> Response:
        principal = current_principal()

        def poll(after: int) -> tuple[Job, Sequence[Event]]:
            return ledger.jobs.get(job_id, principal.visible_models), ledger.jobs.list_events(job_id, after)

        after = parse_event_id(request.headers.get(LAST_EVENT_HEADER.name))
        stream = streams.follow(poll, after, request.environ, principal.is_valid)
        return Response(status=204) if stream is None else Response(stream, mimetype=job_events.TYPE)

    @views.get("/api/jobs/<job_id>/log")
    @describe_view(
        Operation(
            "What a job's processes wrote, of all attempts; the newest 256 KB.",
            {200: {"text/plain": None}},
            parameters=job_log.PARAMETERS,
            errors=(404,),
        )
    )
    def read_log(job_id: str) -> Response:
        job = ledger.jobs.get(job_id, current_principal().visible_models)
        return job_log.respond(ledger, job.id)

    @views.post("/api/jobs/<job_id>:retry")
    @json_view(status=202, location=LOCATION, parameters=(IDEMPOTENCY_KEY_HEADER,), errors=(404, 409, 422, 429))
    def retry_job(job_id: str) -> JobResponse:
        """Retry a job that has ended, as a new job."""
        ended = find_own_job(ledger, job_id)
        if not ended.finished_at:
            raise NotEnded(f"{job_id} is {ended.state}; only a job that has ended can be tried again")
        again = JobRequest.model_validate({name: getattr(ended, name) for name in JobRequest.model_fields})
        workers = ledger.workers.list_alive()
        return job_response(accept_job(store, ledger, queue, limits, again, retry_of=job_id), workers)

    @views.post("/api/jobs/<job_id>:cancel")
    @json_view(errors=(404, 409))
    def cancel_job(job_id: str) -> JobResponse:
        """Cancel a job that is queued or runs."""
        cancelled = ledger.jobs.cancel(find_own_job(ledger, job_id).id, current_author(), current_origin())
        return job_response(cancelled, {})

    return views


def accept_job(
    store: Store,
    ledger: Ledger,
    queue: "Callable[[], Celery]",
    limits: RateLimits,
    body: JobRequest,
    retry_of: str | None = None,
) -> Job:
    """Accepts a request for a job, once for each idempotency key; raises its errors. One in vain costs nothing."""
    from modelyard.services import jobs

    principal, key = current_principal(), parse_idempotency_key(request.headers)
    known = principal.filter_catalog(read_catalog(store.root))
    jobs.require_catalog(known).find(body.model).check_recipe(body.recipe, body.overrides)
    take_submission(limits)
    scoped, by = principal.scope_key(key), current_author()
    return jobs.accept(known, ledger, queue(), body, by, key=scoped, retry_of=retry_of, origin=current_origin())


def find_own_job(ledger: Ledger, job_id: str) -> Job:
    """A job that the principal may cancel or retry; raises ``UnknownName`` for any other."""
    return ledger.jobs.get(job_id, current_principal().visible_models, by=current_owner())


def parse_filters(query: MultiDict[str, str]) -> dict[str, Any]:
    """The filters of a list of jobs, as arguments of ``Jobs.find``: model, search, states, limit, older than a job.

    Raises:
        InvalidRequest, InvalidJob: names the parameter, and what it may be.
    """
    known = [parameter.name for parameter in FILTERS]
    check_parameters(query.to_dict(flat=False), known, several=("state",))
    for state in query.getlist("state"):
        if state not in list(State):
            raise InvalidJob(f"state: received {state[:40]!r}, allowed: {', '.join(State)}")
    limit = query.get("limit", default="50")
    if not re.fullmatch(r"[0-9]{1,4}", limit) or not 1 <= int(limit) <= MAX_LIMIT:
        raise InvalidJob(f"limit: received {limit[:40]!r}, allowed: 1 to {MAX_LIMIT}")
    plain = {name: query.get(name) for name in ("model", "group", "before")}
    return plain | {"states": query.getlist("state") or None, "limit": int(limit)}


def parse_idempotency_key(headers: Headers) -> str | None:
    """Raises ``InvalidJob`` if it is empty, too long, or not printable ASCII."""
    name = IDEMPOTENCY_KEY_HEADER.name
    received = headers.get(name)
    if received is not None and not IDEMPOTENCY_KEY.fullmatch(received):
        raise InvalidJob(f"{name}: expected 1 to 255 printable ASCII characters, received {received[:40]!r}")
    return received


def parse_event_id(received: str | None) -> int:
    """The id of the event to continue after; raises ``InvalidJob`` if it is none."""
    if not received:
        return 0
    if not EVENT_ID.fullmatch(received):
        raise InvalidJob(f"{LAST_EVENT_HEADER.name}: expected the id of an event, received {received[:40]!r}")
    return int(received)


def list_workers(ledger: Ledger, *jobs: Job) -> Workers:
    """Live workers, if any of these jobs may wait for one."""
    return ledger.workers.list_alive() if any(job.finished_at is None for job in jobs) else {}


def job_response(job: Job, workers: Workers) -> JobResponse:
    """The response of a job, not validated: an older release may have accepted other values."""
    progress: Mapping[str, Any] = job.progress
    return JobResponse.model_construct(
        **vars(job),
        stage=progress.get("stage"),
        epoch=progress.get("epoch"),
        metrics=job.result.get("metrics") or progress.get("metrics") or {},
        version=job.result.get("version"),
        waits_for=explain_wait(job, workers),
        eta_s=None if job.finished_at else progress.get("eta_s"),
        eta_at_most=bool(progress.get("eta_at_most")),
        share=None if job.finished_at else progress.get("share"),
    )
