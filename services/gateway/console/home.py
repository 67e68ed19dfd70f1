"""The first page: whether anything is wrong, what trains, and what serves."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from flask import Blueprint, Response

from modelyard.services.gateway.auth.permissions import Permission
from modelyard.services.gateway.auth.principal import current_principal
from modelyard.services.gateway.console.public_api import PublicApi
from modelyard.services.gateway.console.templates import Pages, format_number, link, parse_time

LATELY = timedelta(hours=24)
ENDED = ("succeeded", "rejected", "failed", "cancelled")
MAX_ROWS = 50
"""Models that are shown; the others are counted."""
MAX_DRIFT = 0.25
"""Of the population stability index, where no trigger says less: worth a new model (Siddiqi 2006)."""
MAX_ERRORS = 0.01
"""Share of a model's requests in the last hour that failed, above which it is named."""
NO_STABLE = "no model has a stable version yet"


class Problem(NamedTuple):
    """Something that somebody should look at."""

    tone: str
    """``bad`` or ``warn``."""
    title: str
    text: str
    path: str
    """Of the page where it is mended."""


def add_pages(views: Blueprint, pages: Pages) -> None:
    """Adds ``/``."""
    api = PublicApi()

    @views.get("/")
    def home() -> Response:
        return pages.render("home.html", current="home", **read_overview(api))


def read_overview(api: PublicApi) -> dict[str, Any]:
    """All that the page shows, and that the principal may read."""
    may_read = current_principal().may(Permission.READ)
    known, ready = api.get("/api/models"), api.get("/readyz")
    queue, ledger_problem = api.attempt("/api/queue") if may_read else (None, "")
    trains = queue and (known["trainable"] or known["broken"] or queue["workers"])  # else no ledger is asked, or made
    recent = read_jobs(api) if trains else []
    serving = [complete(model) for model in known["models"][:MAX_ROWS]]
    requests = count_requests(api)
    problems = [*find_readiness_problems(known, ready), *find_model_problems(known)]
    problems += find_errors(requests or {})
    if ledger_problem:
        problems.append(Problem("bad", "The ledger cannot be read", ledger_problem, "/queue"))
    if queue and queue["problem"]:
        problems.append(Problem("bad", "The queue stands still", queue["problem"], "/queue"))
    if trains:
        problems += [*find_job_problems(recent), *(one for model in serving for one in find_drift(api, model))]
    return {
        "problems": sorted(problems, key=lambda one: one.tone != "bad"),
        "queue": queue,
        "serving": serving,
        "unlisted": known["models"][MAX_ROWS:],
        "trainable": known["trainable"],
        "requests": requests,
        "lately": recent[:6],
        "ready": ready["ready"],
    }


def find_readiness_problems(known: Mapping[str, Any], ready: Mapping[str, Any]) -> Iterator[Problem]:
    """What ``/readyz`` says."""
    names = [model["name"] for model in known["models"]]
    for reason in ready.get("reasons", ()):
        if reason != NO_STABLE or names:
            yield Problem("bad", "Predictions are not answered", reason, find_page(reason, names))
    for detail in ready.get("details", ()):
        yield Problem("warn", name_detail(detail), detail, find_page(detail, names))


def name_detail(detail: str) -> str:
    """The short form of a detail of ``/readyz``."""
    if detail.startswith("no trainer"):
        return "No trainer is alive"
    return "Jobs wait for a worker" if "devices" in detail else "Not served as it should be"


def find_page(text: str, names: Sequence[str]) -> str:
    """The page of the model that a sentence begins with; of the queue, if it is about jobs."""
    named = [name for name in names if text.startswith(f"{name} ")]
    if named:
        return link("models", max(named, key=len))
    return "/queue" if "job" in text else "/models"


def find_model_problems(known: Mapping[str, Any]) -> Iterator[Problem]:
    """Damaged versions, and files that are no models."""
    for model in known["models"]:
        if "error" in model:
            yield Problem("bad", f"{model['name']} is damaged", model["error"], link("models", model["name"]))
    for broken in known["broken"]:
        text = broken["error"].strip().splitlines()[0] if broken["error"].strip() else "its file cannot be used"
        yield Problem("warn", f"{broken['name']} cannot be trained", text, "/models")


def read_jobs(api: PublicApi) -> list[Any]:
    """Jobs that have ended, the newest first; those of searches are the searches' own matter."""
    found, _ = api.attempt("/api/jobs", state=ENDED, limit=100)
    return [job for job in found["jobs"] if not job["group"]] if found else []


def find_job_problems(jobs: Sequence[Mapping[str, Any]]) -> Iterator[Problem]:
    """Failed and rejected jobs of the last day, one line a model, unless a later one of the model succeeded."""
    since, seen = datetime.now(UTC) - LATELY, set[str]()
    for job in jobs:
        if job["model"] in seen or job["state"] == "cancelled" or parse_time(job["finished_at"]) < since:
            continue
        seen.add(job["model"])
        if job["state"] != "succeeded":
            title = f"{job['model']}: " + ("a job failed" if job["state"] == "failed" else "a version was rejected")
            reason = str(job["result"].get("reason") or "no reason was recorded")
            yield Problem("bad" if job["state"] == "failed" else "warn", title, reason, link("jobs", job["id"]))


def complete(model: Mapping[str, Any]) -> dict[str, Any]:
    """A model with what is not known of a damaged or foreign one."""
    unknown = {"summary": "", "metric": None, "data": None, "canary": None, "shadow": None}
    return {**unknown, **model, "damaged": "error" in model, "foreign": "is_foreign" in model}


def find_errors(requests: Mapping[str, Mapping[str, int]]) -> Iterator[Problem]:
    """Models that fail more often than they should."""
    for model, counts in requests.items():
        if counts["errors"] > MAX_ERRORS * counts["requests"]:
            text = f"{counts['errors']:,} of {counts['requests']:,} requests of the last hour failed"
            yield Problem("bad", f"{model} fails", text, link("models", model))


def find_drift(api: PublicApi, model: Mapping[str, Any]) -> Iterator[Problem]:
    """Drift of the stable version beyond what a trigger allows, or what is usually taken for too much."""
    drift, _ = api.attempt(f"/api/models/{model['name']}/drift")
    if not drift or not drift["shifts"] or drift["version"] != model["stable"]:
        return
    name, shift = next(iter(drift["shifts"].items()))
    triggers, _ = api.attempt(f"/api/models/{model['name']}/triggers")
    limits = [one["psi"] for one in (triggers or {"triggers": []})["triggers"] if one.get("psi") is not None]
    limit = min(limits, default=MAX_DRIFT)
    if (shift["psi"] or 0.0) > limit:
        measured = f"{name} has moved by {format_number(shift['psi'])}, more than {limit:g}"
        text = f"{measured} (population stability index of {drift['answers']} requests)"
        yield Problem("warn", f"{model['name']} drifts", text, link("models", model["name"], "feedback"))


def count_requests(api: PublicApi) -> dict[str, dict[str, int]] | None:
    """Each model's requests and errors of the last hour; None for those who may not read them."""
    if not current_principal().may(Permission.READ):
        return None
    found, _ = api.attempt("/api/traffic")
    models = found["models"] if found else []
    return {
        one["model"]: {key: sum(version[key] for version in one["hour"]) for key in ("requests", "errors")}
        for one in models
    }
