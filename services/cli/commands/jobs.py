"""``modelyard jobs``: list, show, follow, cancel and retry training jobs, over the gateway's HTTP API."""

import sys
from typing import Annotated, Any

import typer

from modelyard.pipeline.job import REJECTED_EXIT_CODE
from modelyard.services.cli import output as show
from modelyard.services.cli.client import Client
from modelyard.services.cli.options import DEFAULT_URL, Url

app = typer.Typer(help="List training jobs, the newest first; show, follow, cancel or retry one.")

EVERY = 100.0
"""Percent of the requests."""
JobId = Annotated[str, typer.Argument(metavar="JOB", help="As `modelyard jobs` lists it.")]


@app.callback(invoke_without_command=True)
def listed(
    context: typer.Context,
    *,
    model: Annotated[str | None, typer.Option(help="Only of this model.")] = None,
    state: Annotated[list[str] | None, typer.Option(help="Only in this state; may be repeated.")] = None,
    limit: Annotated[int, typer.Option(help="How many.", min=1, max=200)] = 50,
    group: Annotated[str | None, typer.Option(help="Only of this search.")] = None,
    before: Annotated[str | None, typer.Option(help="Only older ones than this job.", metavar="JOB")] = None,
    url: Url = DEFAULT_URL,
) -> None:
    """List training jobs, the newest first; show, follow, cancel or retry one."""
    if context.invoked_subcommand:
        return
    rows = []
    found = Client(url).get("/api/jobs", model=model, state=state, limit=limit, before=before, group=group)
    for job in found["jobs"]:
        stage, note = show.stage_and_note(job)
        version = job["result"].get("version")
        rows.append((job["id"], job["model"], job["recipe"], job["state"], version, note or stage))
    show.table("job", "model", "recipe", "state", "version", "", rows=rows)
    if found["next"]:
        show.console.print(f"more with --before {found['next']}", markup=False)


@app.command("show")
def one(job: JobId, *, url: Url = DEFAULT_URL) -> None:
    """Tell a job's story: every state and milestone, with its time."""
    found = Client(url).get(f"/api/jobs/{job}")
    show.console.print(
        f"{found['model']} {found['recipe']}, asked for by {found['by']}: {found['state']}", markup=False
    )
    rows = [(entry["at"][:19].replace("T", " "), *told(entry)) for entry in found["events"]]
    show.table("at (UTC)", "", "", rows=rows)


@app.command("follow")
def followed(job: JobId, *, url: Url = DEFAULT_URL) -> None:
    """Show a job's progress, and end as it ends: 0, 1 (failed or cancelled) or 3 (rejected)."""
    from modelyard.services.cli.follow import follow

    (ended,) = follow(Client(url), [job])
    end_like(ended)


@app.command()
def cancel(job: JobId, *, url: Url = DEFAULT_URL) -> None:
    """End a job that waits or runs."""
    found = Client(url).cancel(job)
    show.console.print(f"{found['id']} {found['state']}", markup=False)


@app.command()
def retry(job: JobId, *, url: Url = DEFAULT_URL) -> None:
    """Try a job that has ended once more, as a new job."""
    found = Client(url).post(f"/api/jobs/{job}:retry")
    show.console.print(f"{found['id']} {found['state']}", markup=False)


@app.command()
def log(job: JobId, *, url: Url = DEFAULT_URL) -> None:
    """Print what a job's processes wrote."""
    sys.stdout.write(Client(url).text(f"/api/jobs/{job}/log"))


def told(entry: dict[str, Any]) -> tuple[str, str]:
    """What happened, and what was said of it."""
    body = entry["body"]
    if entry["kind"] == "state":
        return body["state"], str(body.get("reason") or "")
    return show.progress_note(body)


def answering(promotion: dict[str, Any]) -> str:
    """Whether a new version answers."""
    if not promotion["promoted"]:
        return f"does not answer: {promotion['reason']}"
    percent = promotion.get("percent", EVERY)
    return "answers now" if percent == EVERY else f"answers {percent:g} % of the requests now"


def end_like(job: dict[str, Any]) -> None:
    """Says how a job ended, and ends the command with 0, 1 (failed) or 3 (rejected)."""
    result = job["result"]
    if result.get("state") == "measured":
        found = " · ".join(show.metric(name, value) for name, value in result["metrics"].items())
        show.console.print(
            f"{job['model']} reached {found} on the validation split; nothing is published", markup=False
        )
        return
    if job["state"] == "succeeded":
        promotion, verdict = result["promotion"], result["verdict"]
        now = answering(promotion)
        test = show.metric(verdict["metric"], verdict["value"])
        show.console.print(f"{job['model']} version {result['version']} ({test}) {now}", markup=False)
        return
    show.errors.print(f"{job['state']}: {result.get('reason')}", markup=False)
    raise typer.Exit(REJECTED_EXIT_CODE if job["state"] == "rejected" else 1)
