"""``modelyard jobs``: list, show, follow, cancel and retry training jobs, over the gateway's HTTP API."""

import sys
from typing import Annotated, Any

import typer

from modelyard.pipeline.job_options import REJECTED_EXIT_CODE
from modelyard.services.cli import output
from modelyard.services.cli.gateway import connect
from modelyard.services.cli.options import AsJson, KeyFile, Url

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
    as_json: AsJson = False,
    url: Url,
    key_file: KeyFile = None,
) -> None:
    """List training jobs, the newest first; show, follow, cancel or retry one."""
    if context.invoked_subcommand:
        return
    chosen: dict[str, Any] = {"model": model, "state": state, "limit": limit, "before": before, "group": group}
    found = connect(url, key_file).call("GET", "/api/jobs", **chosen)
    if as_json:
        output.print_json(found)
        return
    rows = []
    for job in found["jobs"]:
        stage, note = output.describe_job(job)
        version = job["result"].get("version")
        rows.append((job["id"], job["model"], job["recipe"], job["state"], version, note or stage))
    output.print_table("job", "model", "recipe", "state", "version", "", rows=rows)
    if found["next"]:
        output.console.print(f"more with --before {found['next']}", markup=False)


@app.command("show")
def show_job(job: JobId, *, as_json: AsJson = False, url: Url, key_file: KeyFile = None) -> None:
    """Show a job's events: states and progress, with their times."""
    found = connect(url, key_file).jobs.get(job).raw
    if as_json:
        output.print_json(found)
        return
    output.console.print(
        f"{found['model']} {found['recipe']}, submitted by {found['by']}: {found['state']}", markup=False
    )
    print_wait(found)
    rows = [(entry["at"][:19].replace("T", " "), *describe_event(entry)) for entry in found["events"]]
    output.print_table("at (UTC)", "", "", rows=rows)


@app.command("follow")
def follow_job(job: JobId, *, as_json: AsJson = False, url: Url, key_file: KeyFile = None) -> None:
    """Show a job's progress until it ends. Exit status: 0, 1 (failed or cancelled) or 3 (rejected)."""
    from modelyard.services.cli.follow import follow_one

    shown = output.errors if as_json else output.console
    exit_with_outcome(follow_one(connect(url, key_file), job, shown), as_json=as_json)


@app.command()
def cancel(job: JobId, *, as_json: AsJson = False, url: Url, key_file: KeyFile = None) -> None:
    """Cancel a job that is queued or runs."""
    print_job(connect(url, key_file).jobs.cancel(job).raw, as_json=as_json)


@app.command()
def retry(job: JobId, *, as_json: AsJson = False, url: Url, key_file: KeyFile = None) -> None:
    """Run a job that has ended again, as a new job."""
    found = connect(url, key_file).jobs.retry(job).raw
    print_job(found, as_json=as_json)
    print_wait(found)


@app.command()
def log(job: JobId, *, as_json: AsJson = False, url: Url, key_file: KeyFile = None) -> None:
    """Print the output of a job's processes."""
    text = connect(url, key_file).jobs.log(job)
    if as_json:
        output.print_json({"job": job, "log": text})
    else:
        sys.stdout.write(text)


def print_job(found: Any, *, as_json: bool, hint: str = "") -> None:
    """The id and state of a job or search, or all of it."""
    if as_json:
        output.print_json(found)
    else:
        output.console.print(f"{found['id']} {found['state']}{hint}", markup=False)


def print_wait(found: Any) -> None:
    """Prints the worker that a job or search lacks, if it lacks one."""
    if found.get("waits_for"):
        output.errors.print(f"waits: {found['waits_for']}", style="yellow", markup=False)


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


def exit_with_outcome(job: dict[str, Any], *, as_json: bool = False) -> None:
    """Prints the outcome of a job, and ends the command with 0, 1 (failed) or 3 (rejected)."""
    if as_json:
        output.print_json(job)
    else:
        print_outcome(job)
    if job["state"] != "succeeded":
        raise typer.Exit(REJECTED_EXIT_CODE if job["state"] == "rejected" else 1)


def print_outcome(job: dict[str, Any]) -> None:
    """What a job that has ended reached, or why it did not."""
    result = job["result"]
    if result.get("state") == "measured":
        found = " · ".join(output.format_metric(name, value) for name, value in result["metrics"].items())
        text = f"{job['model']} reached {found} on the validation split; nothing is published"
        output.console.print(text, markup=False)
    elif job["state"] == "succeeded":
        promotion, verdict = result["promotion"], result["verdict"]
        test = output.format_metric(verdict["metric"], verdict["value"])
        text = f"{job['model']} version {result['version']} ({test}) {describe_promotion(promotion)}"
        output.console.print(text, markup=False)
    else:
        way_out = f"; see `modelyard jobs log {job['id']}`" if job["state"] == "failed" else ""
        output.errors.print(f"{job['state']}: {result.get('reason')}{way_out}", markup=False)
