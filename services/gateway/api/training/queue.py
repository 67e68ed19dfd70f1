"""The queue over HTTP: workers, what runs where, what waits and why, and when it will be empty."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from flask import Blueprint
from pydantic import Field

from modelyard.models import catalog
from modelyard.models.registry.store import Store
from modelyard.services.gateway.api.jobs import JobResponse, job_response
from modelyard.services.gateway.api.training.broker_probe import BrokerProbe
from modelyard.services.gateway.api.training.estimates import (
    Durations,
    Forecast,
    estimate_rest,
    explain_unknown,
    forecast,
    measure_progress,
    sort_waiting,
)
from modelyard.services.gateway.auth.principal import Principal, current_principal
from modelyard.services.gateway.http.json_body import Body
from modelyard.services.gateway.http.operation import json_view
from modelyard.services.ledger import UNDER_WAY, Job, Ledger, State, Worker
from modelyard.services.queues import Workers, choose_queue, describe_queue, explain_wait, list_served

MAX_OPEN = 1000
"""Jobs that are looked at; what is behind them is only counted."""
TOO_MANY = f"more than {MAX_OPEN:,} jobs wait, of which only the first are looked at"
MAX_SHOWN = 100
"""Waiting jobs that are returned, the next ones first."""


class WorkerResponse(Body):
    """A live worker; ``jobs`` are those that it runs and that the key may see, ``busy`` counts all."""

    name: str
    queues: list[str]
    devices: list[str]
    """What it trains on, in words."""
    since: datetime | None
    seen_at: datetime
    slots: int
    """Number of jobs that it runs at a time."""
    busy: int
    jobs: list[str]


class WorkerList(Body):
    """Live workers, by name."""

    workers: list[WorkerResponse]


class RunningJob(JobResponse):
    """A job that a worker runs. ``left_s``: the seconds it still takes, 0 if it takes longer than earlier ones."""

    queue: str
    share: float | None
    """Of the training's steps that are done; null outside of the training."""
    left_s: float | None
    left_unknown: str | None
    """Why there is no estimate."""


class WaitingJob(JobResponse):
    """A job that waits, its place in its queue, and why."""

    queue: str
    before: int
    """Jobs that wait before it for the same workers."""
    why: str
    starts_in_s: float | None
    takes_s: float | None
    takes_from: int
    """Number of earlier jobs that ``takes_s`` is the median of."""


class QueueResponse(Body):
    """The queue as it is now; ``empty_in_s`` is null if nobody can say, and ``empty_unknown`` says why."""

    running: list[RunningJob]
    waiting: list[WaitingJob]
    depth: dict[str, int] = Field(description="Number of waiting jobs by queue, also those that are not shown.")
    empty_in_s: float | None
    empty_unknown: list[str]
    problem: str | None = Field(description="What is wrong with the queue itself; null if nothing is.")
    workers: int


def routes(store: Store, ledger: Ledger, broker: BrokerProbe) -> Blueprint:
    """The views ``/api/workers`` and ``/api/queue``."""
    views = Blueprint("queue", __name__)

    @views.get("/api/workers")
    @json_view()
    def list_workers() -> WorkerList:
        """Live workers, their devices, and what they run."""
        principal = current_principal()
        if not may_have_work(store, ledger):
            return WorkerList(workers=[])
        held = ledger.jobs.find(states=UNDER_WAY, limit=MAX_OPEN)
        return WorkerList(workers=[worker_response(one, held, principal) for one in ledger.workers.list_workers()])

    @views.get("/api/queue")
    @json_view()
    def read_queue() -> QueueResponse:
        """What runs where, what waits and why, and when it will be empty."""
        if not may_have_work(store, ledger):
            return QueueResponse(
                running=[], waiting=[], depth={}, empty_in_s=0.0, empty_unknown=[], problem=None, workers=0
            )
        problem = broker.read() if (store.root / catalog.FILE).exists() else None
        return queue_response(ledger, current_principal(), problem)

    return views


def may_have_work(store: Store, ledger: Ledger) -> bool:
    """False where nobody ever trained: then no ledger is made only to be read."""
    return ledger.exists() or (store.root / catalog.FILE).exists()


def worker_response(worker: Worker, held: Iterable[Job], principal: Principal) -> WorkerResponse:
    mine = [job for job in held if job.worker == worker.name]
    return WorkerResponse(
        name=worker.name,
        queues=list(worker.queues),
        devices=[describe_queue(queue) for queue in worker.queues],
        since=worker.since,
        seen_at=worker.seen_at,
        slots=worker.slots,
        busy=len(mine),
        jobs=[job.id for job in mine if principal.can_see(job.model)],
    )


def queue_response(ledger: Ledger, principal: Principal, problem: str | None) -> QueueResponse:
    """The queue, with the jobs that the principal may see; the others count."""
    workers, now = ledger.workers.list_workers(), datetime.now(UTC)
    queues = {worker.name: worker.queues for worker in workers}
    jobs = (*ledger.jobs.find(states=UNDER_WAY, limit=MAX_OPEN), *ledger.jobs.list_queued(MAX_OPEN))
    running = [job for job in jobs if job.state in UNDER_WAY and job.worker in queues]
    held = {job.id for job in running}
    waiting = sort_waiting(job for job in jobs if job.id not in held)
    durations = Durations(ledger.workers.list_trainings({job.model for job in jobs}) if jobs else ())
    plan = Forecast() if problem else forecast(running, waiting, workers, durations, now)
    return QueueResponse.model_construct(
        running=[running_job(job, queues, durations, now) for job in running if principal.can_see(job.model)],
        waiting=list_waiting(waiting, workers, plan if not problem else None, durations, principal),
        depth=count_depth(ledger, waiting, queues),
        empty_in_s=None if (problem and jobs) or len(jobs) >= MAX_OPEN else plan.empty_s,
        empty_unknown=list_unknown(plan, jobs, problem, principal),
        problem=problem,
        workers=len(workers),
    )


def list_unknown(plan: Forecast, jobs: Sequence[Job], problem: str | None, principal: Principal) -> list[str]:
    """Why nobody can say when the queue will be empty; jobs of hidden models are not named."""
    if problem and jobs:
        return [problem]
    if principal.visible_models is not None and plan.unknown:
        return ["not every job that waits can be estimated"]
    return [TOO_MANY] if len(jobs) >= MAX_OPEN else plan.unknown


def count_depth(ledger: Ledger, waiting: Sequence[Job], workers: Workers) -> dict[str, int]:
    """Number of waiting jobs by queue, also of those that were not looked at."""
    counts: Mapping[str, int] = Counter(job.devices for job in waiting)
    if len(waiting) >= MAX_OPEN:
        counts = ledger.workers.count_waiting_jobs()
    served, depth = list_served(workers), Counter[str]()
    for devices, count in counts.items():
        depth[choose_queue(devices, served)] += count
    return dict(depth)


def running_job(job: Job, workers: Workers, durations: Durations, now: datetime) -> RunningJob:
    left = estimate_rest(job, durations, now)
    return RunningJob.model_construct(
        **vars(job_response(job, workers)),
        queue=choose_queue(job.devices, list_served(workers)),
        share=measure_progress(job),
        left_s=left,
        left_unknown=explain_unknown(job) if left is None else None,
    )


def list_waiting(
    waiting: Sequence[Job], workers: Sequence[Worker], plan: Forecast | None, durations: Durations, principal: Principal
) -> list[WaitingJob]:
    """Those that come next, as many as are shown, each with why it waits."""
    queues = {worker.name: worker.queues for worker in workers}
    served, seen, found = list_served(queues), dict[str, int](), list[WaitingJob]()
    for job in waiting:
        queue = choose_queue(job.devices, served)
        before = seen.get(queue, 0)
        seen[queue] = before + 1
        if len(found) == MAX_SHOWN or not principal.can_see(job.model):
            continue
        takes = durations.estimate(job)
        found.append(
            WaitingJob.model_construct(
                **vars(job_response(job, queues)),
                queue=queue,
                before=before,
                why=explain(job, before, queues, plan),
                starts_in_s=plan.starts_s.get(job.id) if plan else None,
                takes_s=takes.seconds if takes else None,
                takes_from=takes.jobs if takes else 0,
            )
        )
    return found


def explain(job: Job, before: int, workers: Workers, plan: Forecast | None) -> str:
    """Why a job waits, in words; ``plan`` is None while the broker is away."""
    if missing := explain_wait(job, workers):
        return missing
    if job.state is not State.QUEUED:
        return "its worker is gone; another one takes it over when its lease has run out, within a minute"
    if before:
        return "1 job is before it" if before == 1 else f"{before} jobs are before it"
    if plan is None:
        return "it is next; the job queue is not reachable"
    if plan.starts_s.get(job.id) == 0.0:
        return "it is next, and starts at once"
    return "it is next; its workers are busy"
