"""Routines of jobs and searches."""

import json
import secrets
import time
from collections.abc import Mapping
from typing import Any

from modelyard.client.errors import ModelyardClientError, TimedOut, Unavailable
from modelyard.client.records import Job, JobEvent, Search
from modelyard.client.steps import (
    Emit,
    NextLine,
    Open,
    Reply,
    Request,
    Routine,
    Sleep,
    choose_pause,
    encode_path,
    get,
    raise_for_status,
    send_json,
)

FIRST_POLL_S, POLL_S = 0.2, 1.0
NO_MORE_EVENTS = 204
PATIENCE_S = 60.0
"""How long a stream tries to connect again."""
ENDED = frozenset({"succeeded", "rejected", "failed", "cancelled"})


def submit_job(
    model: str,
    *,
    recipe: str = "quick",
    overrides: Mapping[str, Any] | None = None,
    data: str = "auto",
    rollout: str = "stable",
    priority: str = "normal",
    budget_s: float | None = None,
    with_feedback: bool = False,
    idempotency_key: str | None = None,
) -> Routine[Job]:
    """Submits a training job; it is one job, however often the request has to be sent.

    Args:
        model: what to train.
        recipe: quick or full.
        overrides: values of the recipe.
        data: auto, require-real or sample.
        rollout: stable, canary, manual or none.
        priority: high, normal or low.
        budget_s: seconds of training at most.
        with_feedback: train on feedback, too.
        idempotency_key: yours; made by the client unless given.

    Raises:
        InvalidInput: no such recipe, key or value; the text says what is allowed.
        NotFound: no such model. RateLimited: too many submissions.
    """
    asked = {"model": model, "recipe": recipe, "overrides": dict(overrides or {}), "data": data, "rollout": rollout}
    options = {"priority": priority, "budget_s": budget_s, "with_feedback": with_feedback}
    reply = yield submission("/api/jobs", asked | options, idempotency_key)
    return Job.read(reply.json())


def submission(path: str, body: Any, idempotency_key: str | None = None) -> Request:
    """A request that creates something, once for its key."""
    return send_json("POST", path, body, idempotency_key=idempotency_key or secrets.token_hex(16))


def get_job(job_id: str) -> Routine[Job]:
    """A job; ``raw`` has its events. Raises ``NotFound``."""
    reply = yield get(encode_path("api", "jobs", job_id))
    return Job.read(reply.json())


def list_jobs(
    *,
    model: str | None = None,
    state: str | list[str] | None = None,
    group: str | None = None,
    limit: int = 50,
    before: str | None = None,
) -> Routine[list[Job]]:
    """Jobs, the newest first; ``before`` is the id of a job: only older ones."""
    reply = yield get("/api/jobs", model=model, state=state, group=group, limit=limit, before=before)
    return [Job.read(each) for each in reply.json()["jobs"]]


def cancel_job(job_id: str) -> Routine[Job]:
    """Cancels a job that is queued or runs; raises ``Conflict`` if it has ended, or is being published."""
    reply = yield send_json("POST", encode_path("api", "jobs", job_id, verb="cancel"), None)
    return Job.read(reply.json())


def retry_job(job_id: str, *, idempotency_key: str | None = None) -> Routine[Job]:
    """Runs a job that has ended again, as a new job; raises ``Conflict`` if it has not."""
    reply = yield submission(encode_path("api", "jobs", job_id, verb="retry"), None, idempotency_key)
    return Job.read(reply.json())


def read_log(job_id: str) -> Routine[str]:
    """What the job's processes printed; the newest 256 KB."""
    reply = yield get(encode_path("api", "jobs", job_id, "log"))
    text: str = reply.content.decode(errors="replace")
    return text


def wait_for_job(job_id: str, *, timeout: float | None = None) -> Routine[Job]:
    """The job once it has ended, in whatever way; a gateway that is away for less than a minute goes unnoticed.

    Raises:
        TimedOut: it has not ended after ``timeout`` seconds; the job goes on.
    """
    deadline, pause = None if timeout is None else time.monotonic() + timeout, FIRST_POLL_S
    while True:
        job = yield from get_job(job_id)
        if job.ended:
            return job
        if deadline is not None and time.monotonic() + pause > deadline:
            raise TimedOut(f"{job_id} has not ended within {timeout:g} s: it is {job.state}", status=0)
        yield Sleep(pause)
        pause = min(POLL_S, 1.5 * pause)


# --- events -----------------------------------------------------------------------------------------------------------


def follow_job(job_id: str, *, after: int = 0) -> Routine[None]:
    """The events of a job as they happen, until it has ended.

    A stream that breaks is opened again, and goes on after the last event: none is lost, and none comes twice.

    Args:
        job_id: of ``submit``.
        after: only events after the one with this id.

    Raises:
        NotFound: no such job. Unavailable: no connection for a minute.
    """
    path, stream = encode_path("api", "jobs", job_id, "events"), EventStream(after)
    tries, lost_at = 0, time.monotonic()
    while not stream.has_ended:
        try:
            reply: Reply = yield Open(get(path) if not stream.last else _resume(path, stream.last))
            if reply.status == NO_MORE_EVENTS:
                return
            raise_for_status(reply)
            while (line := (yield NextLine())) is not None:
                event = stream.read(line)
                if event is not None:
                    tries, lost_at = 0, time.monotonic()
                    yield Emit(event)
            error: ModelyardClientError = Unavailable("the stream ended")
        except Unavailable as lost:
            error = lost
        if stream.has_ended:
            return
        if time.monotonic() - lost_at > PATIENCE_S:
            raise error
        yield Sleep(choose_pause(error, tries))
        tries += 1


def _resume(path: str, last: int) -> Request:
    return Request("GET", path, headers={"Last-Event-ID": str(last)}, repeat="always")


class EventStream:
    """Lines of Server-Sent Events to events. An event that was cut off before its empty line is none."""

    def __init__(self, after: int = 0) -> None:
        self.last = after
        """Id of the last event."""
        self.has_ended = False
        self._id: int | None = None
        self._kind, self._data = "message", ""

    def read(self, line: str) -> JobEvent | None:
        """The event that ends with this line; None if none does."""
        if not line.strip("\r\n"):
            return self._finish()
        name, _, value = line.rstrip("\r\n").partition(":")
        value = value.removeprefix(" ")
        if name == "retry":  # a new stream begins: what the last one left half is void
            self._reset()
        elif name == "id" and value.isdecimal():
            self._id = int(value)
        elif name == "event":
            self._kind = value
        elif name == "data":
            self._data += value
        return None

    def _finish(self) -> JobEvent | None:
        found, number, kind = self._data, self._id, self._kind
        self._reset()
        if not found:
            return None
        body = json.loads(found)
        self.last = number or self.last
        self.has_ended = kind == "state" and body.get("state") in ENDED
        return JobEvent.read({"id": number, "kind": kind, "body": body, "at": body.get("at")})

    def _reset(self) -> None:
        self._id, self._kind, self._data = None, "message", ""


# --- searches ---------------------------------------------------------------------------------------------------------


def submit_search(
    model: str,
    trials: int,
    *,
    recipe: str = "quick",
    overrides: Mapping[str, Any] | None = None,
    keys: list[str] | None = None,
    seed: int = 0,
    data: str = "auto",
    priority: str = "low",
    budget_s: float | None = None,
    with_feedback: bool = False,
    promote_best: bool = False,
    idempotency_key: str | None = None,
) -> Routine[Search]:
    """Submits a search over the ranges that a model declares; ``keys`` are those to search, all unless given."""
    asked = {"model": model, "trials": trials, "recipe": recipe, "overrides": dict(overrides or {}), "keys": keys}
    options = {"seed": seed, "data": data, "priority": priority, "budget_s": budget_s}
    flags = {"with_feedback": with_feedback, "promote_best": promote_best}
    reply = yield submission("/api/searches", asked | options | flags, idempotency_key)
    return Search.read(reply.json())


def get_search(search_id: str) -> Routine[Search]:
    """A search with its rungs, and what each trial reached."""
    reply = yield get(encode_path("api", "searches", search_id))
    return Search.read(reply.json())


def list_searches() -> Routine[list[Search]]:
    """Searches, the newest first."""
    reply = yield get("/api/searches")
    return [Search.read(each) for each in reply.json()["searches"]]


def cancel_search(search_id: str) -> Routine[Search]:
    """Ends a search with all its jobs."""
    reply = yield send_json("POST", encode_path("api", "searches", search_id, verb="cancel"), None)
    return Search.read(reply.json())
