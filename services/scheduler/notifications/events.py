"""Finds events that nobody was told of yet, in the ledger, and says them in words."""

from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from modelyard.services.keys import mask_keys
from modelyard.services.ledger import Job, Kind, Ledger, State, StoredEntry
from modelyard.services.ledger.notifications import Notification, name_job
from modelyard.services.ledger.observations import Drift
from modelyard.services.scheduler.canary_analysis import BY
from modelyard.services.scheduler.notifications.settings import Event

MAX_REASON = 500
MAX_ENTRIES = 500
"""Decisions that are looked through."""
STATES = {Event.JOB_FAILED: State.FAILED, Event.JOB_REJECTED: State.REJECTED}
DECISIONS = {"promote": "was promoted", "end canary": "was ended", "canary step": "gets a larger share"}
"""Actions of canary analysis."""
MARKUP = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
"""Chat services take ``<!channel>`` for a call to everybody (https://docs.slack.dev/messaging/formatting-message-text)."""


def find_events(
    ledger: Ledger, since: datetime, chosen: Collection[Event], psi: float, console: str
) -> Iterator[Notification]:
    """Those since a time; some of them may have been found before.

    Args:
        psi: drift above it is an event, once a day.
        console: address of links; empty for none.

    Raises:
        StorageFailed: the ledger is away.
    """
    states = [state for event, state in STATES.items() if event in chosen]
    if states:
        yield from (describe_job(job, console) for job in ledger.notifications.list_untold_jobs(states, since))
    if Event.CANARY in chosen:
        decided = {"kind": Kind.ROLLOUT, "by": BY}
        for entry in ledger.audit.find(filters=decided, since=since, limit=MAX_ENTRIES):
            yield describe_decision(entry, console)
    if Event.DRIFT in chosen:
        for drift in ledger.observations.list_drift():
            if drift.at >= since and (worst := find_worst(drift)) and worst[1] > psi:
                yield describe_drift(drift, *worst, console)


def describe_job(job: Job, console: str) -> Notification:
    """A job that failed, or whose version was rejected."""
    event = Event.JOB_FAILED if job.state is State.FAILED else Event.JOB_REJECTED
    said = "failed" if event is Event.JOB_FAILED else "made a version that was rejected"
    body = describe(
        f"{job.model}: {job.id} {said}",
        str(job.result.get("reason", "")),
        link=make_link(console, "jobs", job.id),
        model=job.model,
        job=job.id,
        by=job.by,
        at=job.finished_at,
    )
    return Notification(name_job(job.id), event, body)


def describe_decision(entry: StoredEntry, console: str) -> Notification:
    """A decision of canary analysis."""
    said = DECISIONS.get(entry.action, entry.action)
    body = describe(
        f"{entry.model}: canary {entry.version} {said}",
        str(entry.detail.get("reason", "")),
        link=make_link(console, "models", str(entry.model)),
        model=entry.model,
        version=entry.version,
        action=entry.action,
        at=entry.detail.get("at", entry.at),
    )
    return Notification(f"rollout {entry.number}", Event.CANARY, body)


def describe_drift(drift: Drift, series: str, psi: float, console: str) -> Notification:
    """Drift of a version, named by its day: as long as it lasts, it is told once a day."""
    body = describe(
        f"{drift.model}: requests to version {drift.version} drift",
        f"{series}: population stability index {psi:.2f}",
        link=make_link(console, "models", drift.model),
        model=drift.model,
        version=drift.version,
        series=series,
        psi=round(psi, 4),
        at=drift.at,
    )
    return Notification(f"drift {drift.model} {drift.version} {drift.at:%Y-%m-%d}", Event.DRIFT, body)


def find_worst(drift: Drift) -> tuple[str, float] | None:
    """The histogram that has moved farthest, and how far."""
    shifts = {series: float(shift["psi"] or 0.0) for series, shift in drift.shifts.items()}
    return max(shifts.items(), key=lambda entry: entry[1], default=None)


def describe(title: str, reason: str, *, link: str | None, at: datetime | str | None, **fields: Any) -> dict[str, Any]:
    """The body of a notification: its fields, and all of it as a text. API keys in it are masked."""
    short = mask_keys(reason)[:MAX_REASON]
    parts = [title.translate(MARKUP), short.translate(MARKUP), link]
    moment = at.astimezone(UTC).isoformat() if isinstance(at, datetime) else at
    return {"at": moment, **fields, "reason": short, "link": link, "text": "\n".join(filter(None, parts))}


def make_link(console: str, *parts: str) -> str | None:
    """The address of a page of the console."""
    return "/".join([console, *(quote(part, safe="") for part in parts)]) if console else None
