"""``modelyard jobs``: list, show, follow, cancel and retry training jobs, over the gateway's HTTP API."""

import sys
from typing import Annotated, Any

import typer

from modelyard.pipeline.job import REJECTED_EXIT_CODE
from modelyard.services.cli import output
from modelyard.services.cli.client import Client
from modelyard.services.cli.options import DEFAULT_URL, Url

app = typer.Typer(help="List training jobs, the newest first; show, follow, cancel or retry one.")

ALL_PERCENT = 100.0
"""Percent of the requests."""
JobId = Annotated[str, typer.Argument(metavar="JOB", help="Id, as listed by `modelyard jobs`.")]


@app.callback(invoke_without_command=True)
def list_jobs(
    context: typer.Context,
    *,
    model: Annotated[str | None, typer.Option(help="Only of this model.")] = None,
    state: Annotated[list[str] | None, typer.Option(help="Only in this state; may be repeated.")] = None,
    limit: Annotated[int, typer.Option(help="Maximum number of jobs.", min=1, max=200)] = 50,
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
        stage, note = output.describe_job(job)
        version = job["result"].get("version")
        rows.append((job["id"], job["model"], job["recipe"], job["state"], version, note or stage))
    output.print_table("job", "model", "recipe", "state", "version", "", rows=rows)
    if found["next"]:
        output.console.print(f"more with --before {found['next']}", markup=False)


@app.command("show")
def show_job(job: JobId, *, url: Url = DEFAULT_URL) -> None:
    """Show a job's events: states and progress, with their times."""
    found = Client(url).get(f"/api/jobs/{job}")
    output.console.print(
        f"{found['model']} {found['recipe']}, submitted by {found['by']}: {found['state']}", markup=False
    )
    print_wait(found)
    rows = [(entry["at"][:19].replace("T", " "), *describe_event(entry)) for entry in found["events"]]
    output.print_table("at (UTC)", "", "", rows=rows)


@app.command("follow")
def follow_job(job: JobId, *, url: Url = DEFAULT_URL) -> None:
    """Show a job's progress until it ends. Exit status: 0, 1 (failed or cancelled) or 3 (rejected)."""
    from modelyard.services.cli.follow import follow_one

    exit_with_outcome(follow_one(Client(url), job))


@app.command()
def cancel(job: JobId, *, url: Url = DEFAULT_URL) -> None:
    """Cancel a job that is queued or runs."""
    found = Client(url).cancel(job)
    output.console.print(f"{found['id']} {found['state']}", markup=False)


@app.command()
def retry(job: JobId, *, url: Url = DEFAULT_URL) -> None:
    """Run a job that has ended again, as a new job."""
    found = Client(url).post(f"/api/jobs/{job}:retry")
    output.console.print(f"{found['id']} {found['state']}", markup=False)
    print_wait(found)


@app.command()
def log(job: JobId, *, url: Url = DEFAULT_URL) -> None:
    """Print the output of a job's processes."""
    sys.stdout.write(Client(url).text(f"/api/jobs/{job}/log"))


def print_wait(found: dict[str, Any]) -> None:
    """Prints the worker that a job or search lacks, if it lacks one."""
    if found.get("waits_for"):
        output.errors.print(f"waits: {found['waits_for']}", style="yellow", markup=False, soft_wrap=True)


def describe_event(entry: dict[str, Any]) -> tuple[str, str]:
    """The state or stage of an event, and a note."""
    body = entry["body"]
    if entry["kind"] == "state":
        return body["state"], str(body.get("reason") or "")
    return output.describe_progress(body)


def describe_promotion(promotion: dict[str, Any]) -> str:
    """Whether a new version was promoted."""
    if not promotion["promoted"]:
        return f"is not promoted: {promotion['reason']}"
    percent = promotion.get("percent", ALL_PERCENT)
    return "is stable now" if percent == ALL_PERCENT else f"is the canary now, for {percent:g} % of the requests"


def exit_with_outcome(job: dict[str, Any]) -> None:
    """Prints the outcome of a job, and ends the command with 0, 1 (failed) or 3 (rejected)."""
    result = job["result"]
    if result.get("state") == "measured":
        found = " · ".join(output.format_metric(name, value) for name, value in result["metrics"].items())
        output.console.print(
            f"{job['model']} reached {found} on the validation split; nothing is published", markup=False
        )
        return
    if job["state"] == "succeeded":
        promotion, verdict = result["promotion"], result["verdict"]
        now = describe_promotion(promotion)
        test = output.format_metric(verdict["metric"], verdict["value"])
        output.console.print(f"{job['model']} version {result['version']} ({test}) {now}", markup=False)
        return
    output.errors.print(f"{job['state']}: {result.get('reason')}", markup=False)
    raise typer.Exit(REJECTED_EXIT_CODE if job["state"] == "rejected" else 1)
