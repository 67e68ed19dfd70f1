"""Jobs: all of them, one while it trains, and several beside each other."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response, request

from modelyard.services.gateway.api.job_history.views import MAX_COMPARED
from modelyard.services.gateway.console.public_api import PublicApi
from modelyard.services.gateway.console.templates import Pages, format_duration, parse_time
from modelyard.services.job_stages import STAGES
from modelyard.services.ledger import FINAL, State

SHORTEST_S, SHORT_S = 0.1, 10
PAGE = 50
"""Jobs of one page of the list."""
GROUPS: Mapping[str, tuple[State, ...]] = {
    "Under way": (State.QUEUED, State.RUNNING, State.PUBLISHING),
    "Succeeded": (State.SUCCEEDED,),
    "Rejected": (State.REJECTED,),
    "Failed": (State.FAILED,),
    "Cancelled": (State.CANCELLED,),
}
"""Of the list's filter, by what they are called."""
ADVICE: Sequence[tuple[str, str]] = (
    ("timeout", "Give it more time (budget_s) or fewer epochs, and submit it again."),
    ("out of memory", "Train with a smaller batch_size, or on a machine with more memory, then retry."),
    ("SIGKILL", "Train with a smaller batch_size, or on a machine with more memory, then retry."),
    ("recipe key", "Submit it again with another value of this key."),
    ("broker", "Check that Redis runs (modelyard doctor), then retry."),
    ("was lost", "Check the trainers (modelyard doctor, their logs), then retry."),
    ("No space left", "Make room (modelyard gc), then retry."),
)
"""What to do about a failure, by a part of its reason."""
OTHERWISE = "The end of the log says where it happened. Mend the cause, then retry."


def add_pages(views: Blueprint, pages: Pages) -> None:
    """Adds ``/jobs``, ``/jobs/compare`` and ``/jobs/ID``."""
    api = PublicApi()

    @views.get("/jobs")
    def list_jobs() -> Response:
        query = request.args
        group, state = query.get("group") or None, query.get("state", "")
        filters = {"model": query.get("model") or None, "group": group, "state": list_states(state)}
        found = api.get("/api/jobs", **filters, limit=PAGE, before=query.get("before") or None)
        known = api.find("/api/models") or {"models": []}
        rest = [(name, value) for name, value in query.items() if name != "before"]
        return pages.render(
            "jobs.html",
            current="jobs",
            module="jobs",
            jobs=found["jobs"],
            next=found["next"],
            names=sorted(model["name"] for model in known["models"]),
            groups={name: ",".join(states) for name, states in GROUPS.items()},
            chosen={"model": filters["model"] or "", "group": group or "", "state": state},
            before=query.get("before"),
            first_page=f"/jobs?{urlencode(rest)}",
            older=f"/jobs?{urlencode([*rest, ('before', found['next'])])}",
            max_compared=MAX_COMPARED,
            compare_all=f"/jobs/compare?{urlencode([('id', job['id']) for job in found['jobs']])}",
            took=measure_time,
            choose_metric=choose_metric,
        )

    @views.get("/jobs/compare")
    def compare_jobs() -> Response:
        ids = list(dict.fromkeys(request.args.getlist("id")))
        found = api.get("/api/jobs/compare", id=ids) if ids else None
        return pages.render(
            "compare.html",
            current="jobs",
            module="compare",
            found=found,
            **(describe_comparison(found) if found else {}),
        )

    @views.get("/jobs/<job_id>")
    def show_job(job_id: str) -> Response:
        job = api.get(f"/api/jobs/{job_id}")
        return pages.render(
            "job.html",
            current="jobs",
            module="job",
            job=job,
            ended=job["state"] in FINAL,
            took=measure_time,
            stages=list_steps(job),
            places=list_places(job["events"]),
            advice=advise(job["result"].get("reason", "")) if job["state"] == State.FAILED else "",
            recipe=api.get(f"/api/jobs/{job_id}/recipe"),
            curves=None if "X-Refresh" in request.headers else api.get(f"/api/jobs/{job_id}/curves"),
        )


def describe_comparison(found: Mapping[str, Any]) -> dict[str, Any]:
    """What the page of a comparison shows beside it: links to it with one job less, or another metric by class."""
    ids = [job["id"] for job in found["jobs"]]
    names = list(found["per_class"]["metrics"]) if found["per_class"] else []
    metric = request.args.get("metric", "")
    rest = [(name, value) for name, value in request.args.items(multi=True) if name != "metric"]
    same_model = len({job["model"] for job in found["jobs"]}) == 1
    return {
        "query": urlencode([("id", each) for each in ids]),
        "without": {each: urlencode([("id", other) for other in ids if other != each]) for each in ids},
        "labels": [
            {
                "id": job["id"],
                "label": job["id"][4:10] if same_model else f"{job['model']} {job['id'][4:10]}",
                "ended": job["state"] in FINAL,
            }
            for job in found["jobs"]
        ],
        "class_metric": metric if metric in names else next(iter(names), ""),
        "class_links": {name: f"/jobs/compare?{urlencode([*rest, ('metric', name)])}" for name in names},
    }


def choose_metric(job: Mapping[str, Any]) -> str:
    """The metric that the list shows: the gate's, else one on the validation split, else any but the loss."""
    judged = (job["result"].get("verdict") or {}).get("metric")
    order = sorted(job["metrics"], key=lambda name: (name != judged, not name.startswith("val_"), "loss" in name))
    return next(iter(order), "")


def measure_time(job: Mapping[str, Any]) -> float:
    """Seconds that a job, or what is known of it, ran in its last attempt."""
    return (parse_time(job["finished_at"]) - parse_time(job["started_at"])).total_seconds()


def format_took(seconds: float | None) -> str:
    """A stage's time; short ones by tenths. Empty where it is not known."""
    if seconds is None:
        return ""
    if seconds < SHORTEST_S:
        return f"<{SHORTEST_S} s"
    return f"{seconds:.1f} s" if seconds < SHORT_S else format_duration(seconds)


def list_states(words: str) -> list[str] | None:
    """The states that a filter names, by commas; the API refuses unknown ones."""
    return [word for word in words.split(",") if word] or None


def list_steps(job: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The stages of the latest attempt in their order, also those that are yet to come; a trial has but the first."""
    latest = max((stage["attempt"] for stage in job["stages"]), default=0)
    done = [stage for stage in job["stages"] if stage["attempt"] == latest]
    wanted = STAGES[: STAGES.index("train") + 1] if job["rollout"] == "none" else STAGES
    steps = [describe_step(name, [stage for stage in done if stage["stage"] == name]) for name in wanted]
    if job["state"] in (State.FAILED, State.REJECTED) and done:
        steps = [step | ({"state": job["state"]} if step["name"] == done[-1]["stage"] else {}) for step in steps]
    return [step for step in steps if step["state"] != "next" or not job["finished_at"]]


def describe_step(name: str, times: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One stage: ``done``, ``now`` or ``next``, how long it took so far, and since when it goes on."""
    seconds = [time["seconds"] for time in times if time["seconds"] is not None]
    since = next((time["started_at"] for time in times if time["seconds"] is None), None)
    state = "next" if not times else "now" if since else "done"
    return {"name": name, "state": state, "took": format_took(sum(seconds) if seconds else None), "since": since}


def list_places(events: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Where a job's attempts ran: worker, moment, and on what."""
    found: list[dict[str, Any]] = []
    for event in events:
        body = event["body"]
        if "worker" in body:
            found.append({"worker": body["worker"], "at": event["at"], "devices": "", "reason": ""})
        elif found and body.get("message", "").startswith("preparing, on "):
            found[-1]["devices"] = body["message"].removeprefix("preparing, on ")
        elif found and event["kind"] == "state" and body.get("state") == State.QUEUED:
            found[-1]["reason"] = body.get("reason", "")
    return found


def advise(reason: str) -> str:
    """What to do about a failure."""
    return next((text for part, text in ADVICE if part in reason), OTHERWISE)
