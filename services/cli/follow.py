"""Watching jobs until they end, with a bar for each."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from modelyard.services.cli import output as show
from modelyard.services.cli.client import Client

POLL_S = 0.5


def follow(client: Client, ids: Sequence[str]) -> list[dict[str, Any]]:
    """Draws a bar per job until all have ended; returns them as they ended."""
    with show.job_bars() as bars:
        first = [client.get(f"/api/jobs/{job_id}") for job_id in ids]
        tasks = [bars.add_task("", total=1.0, model=job["model"], stage="", note="") for job in first]
        said: set[str] = set()
        while True:
            jobs = [client.get(f"/api/jobs/{job_id}") for job_id in ids]
            for task, job in zip(tasks, jobs, strict=True):
                stage, note = show.stage_and_note(job)
                bars.update(task, completed=show.share_done(job), stage=stage, note=note)
                say_once(said, job, stage)
            if all(job["finished_at"] for job in jobs):
                return jobs
            time.sleep(POLL_S)


def say_once(said: set[str], job: Mapping[str, Any], stage: str) -> None:
    """What a person must not miss, even if the bar moves on: the sample was taken. Without bars, every stage."""
    texts = [entry["body"].get("message", "") for entry in job["events"]]
    lines = [f"{job['model']}: {text}" for text in texts if "sample" in text]
    if not show.console.is_terminal:
        lines.append(f"{job['model']}: {stage}")
    for line in lines:
        if line not in said:
            said.add(line)
            show.console.print(line, style="yellow" if "sample" in line else "", markup=False)
