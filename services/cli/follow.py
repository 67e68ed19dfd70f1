"""Follows jobs until they end, with a progress bar for each."""

import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console

from modelyard.client import Client, ModelyardClientError, Unavailable
from modelyard.services.cli import output
from modelyard.services.cli.gateway import be_patient

POLL_INTERVAL_S = 0.5


def follow_jobs(client: Client, ids: Sequence[str], console: Console = output.console) -> list[dict[str, Any]]:
    """Draws a bar per job until all have ended; returns the ended jobs. It outlives a restart of the gateway."""
    jobs_of = be_patient(client).jobs
    with output.make_progress_bars(console) as bars:
        first = [jobs_of.get(job_id).raw for job_id in ids]
        tasks = [bars.add_task("", total=1.0, model=job["model"], stage="", note="") for job in first]
        printed: set[str] = set()
        while True:
            jobs = [dict(jobs_of.get(job_id).raw) for job_id in ids]
            for task, job in zip(tasks, jobs, strict=True):
                stage, note = output.describe_job(job)
                bars.update(task, completed=output.estimate_share(job), stage=stage, note=note)
                print_stage_once(printed, job, stage, console)
            if all(job["finished_at"] for job in jobs):
                return jobs
            time.sleep(POLL_INTERVAL_S)


def print_stage_once(printed: set[str], job: Mapping[str, Any], stage: str, console: Console) -> None:
    """Prints, once, that the sample is used; without a terminal, every stage too."""
    texts = [entry["body"].get("message", "") for entry in job["events"]]
    lines = [f"{job['model']}: {text}" for text in texts if "sample" in text]
    if not console.is_terminal:
        lines.append(f"{job['model']}: {stage}")
    for line in lines:
        if line not in printed:
            printed.add(line)
            console.print(line, style="yellow" if "sample" in line else "", markup=False)


@contextmanager
def say_what_goes_on(what: str, name: str, commands: str) -> Iterator[None]:
    """On Ctrl-C, and when the gateway is gone for good, says that what was submitted goes on, and ends the command.

    Args:
        what: ``job`` or ``search``.
        name: its id.
        commands: the sub-commands that follow and cancel it, as text.
    """
    hint = f"{what} {name} goes on; {commands}"
    try:
        yield
    except KeyboardInterrupt:
        output.errors.print(f"\n{hint}", markup=False)
        raise typer.Exit(128 + signal.SIGINT) from None
    except Unavailable as error:
        raise add_hint(error, hint) from error


def add_hint(error: ModelyardClientError, hint: str) -> ModelyardClientError:
    """The same error that says more."""
    return type(error)(f"{error}; {hint}", status=error.status, request_id=error.request_id)


def follow_one(client: Client, job_id: str, console: Console = output.console) -> dict[str, Any]:
    """Draws the bar of a job that a command waits for; returns it when it has ended. Ctrl-C leaves it alone."""
    commands = f"`modelyard jobs follow {job_id}` follows it, `modelyard jobs cancel {job_id}` ends it"
    with say_what_goes_on("job", job_id, commands):
        (ended,) = follow_jobs(client, [job_id], console)
    return ended
