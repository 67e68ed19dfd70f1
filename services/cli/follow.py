"""Follows jobs until they end, with a progress bar for each."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from modelyard.services.cli import output
from modelyard.services.cli.client import Client

POLL_INTERVAL_S = 0.5


def follow_jobs(client: Client, ids: Sequence[str]) -> list[dict[str, Any]]:
    """Draws a bar per job until all have ended; returns the ended jobs."""
    with output.make_progress_bars() as bars:
        first = [client.get(f"/api/jobs/{job_id}") for job_id in ids]
        tasks = [bars.add_task("", total=1.0, model=job["model"], stage="", note="") for job in first]
        printed: set[str] = set()
        while True:
            jobs = [client.get(f"/api/jobs/{job_id}") for job_id in ids]
            for task, job in zip(tasks, jobs, strict=True):
                stage, note = output.describe_job(job)
                bars.update(task, completed=output.estimate_share(job), stage=stage, note=note)
                print_stage_once(printed, job, stage)
            if all(job["finished_at"] for job in jobs):
                return jobs
            time.sleep(POLL_INTERVAL_S)


def print_stage_once(printed: set[str], job: Mapping[str, Any], stage: str) -> None:
    """Prints, once, that the sample is used; without a terminal, every stage too."""
    texts = [entry["body"].get("message", "") for entry in job["events"]]
    lines = [f"{job['model']}: {text}" for text in texts if "sample" in text]
    if not output.console.is_terminal:
        lines.append(f"{job['model']}: {stage}")
    for line in lines:
        if line not in printed:
            printed.add(line)
            output.console.print(line, style="yellow" if "sample" in line else "", markup=False)
