"""From spawning a process to its first answers, and what it holds then: the least that a start can cost."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.bounds.start_steps import AT_ONCE, GATEWAY, LIBRARY, MODEL_SERVER, PYTHON
from benchmarks.serving import processes
from benchmarks.serving.peers.loaded import MODELS, newest
from benchmarks.serving.roster import ROOT

STARTS = 5
BARE = "library and graphs, one after the other"
BARE_AT_ONCE = "library and graphs, both at once"
ONLY_PYTHON, ONLY_LIBRARY, ONLY_GATEWAY = "Python alone", "library alone", "gateway's imports alone"

Row = dict[str, Any]


def list_ways(store: Path) -> dict[str, list[str]]:
    """Steps of each way to start."""
    folders = [str(newest(store, model)) for model in MODELS]
    begin = [PYTHON, MODEL_SERVER, LIBRARY]
    return {
        ONLY_PYTHON: [PYTHON],
        ONLY_LIBRARY: [PYTHON, LIBRARY],
        BARE: [*begin, *folders],
        BARE_AT_ONCE: [*begin, AT_ONCE.join(folders)],
        ONLY_GATEWAY: [PYTHON, GATEWAY],
    }


def measure(store: Path, starts: int = STARTS) -> Iterator[Row]:
    """Medians of so many starts of each way, which take turns: seconds of each step and in all, and megabytes (PSS)."""
    ways = list_ways(store)
    found: dict[str, list[Row]] = {way: [] for way in ways}
    for _ in range(starts):
        for way, steps in ways.items():
            found[way].append(start(steps))
    for way, rows in found.items():
        steps_s = {step: statistics.median(row["steps_s"][step] for row in rows) for step in rows[0]["steps_s"]}
        whole = {key: statistics.median(row[key] for row in rows) for key in ("whole_s", "cpu_s", "pss_mb")}
        yield {"row": "start", "way": way, "steps_s": steps_s} | whole


def start(steps: list[str]) -> Row:
    """One start. Raises ``SystemExit`` if it does not get through."""
    began = last = time.monotonic()
    command = [sys.executable, "-m", "benchmarks.bounds.start_steps", *steps]
    took: dict[str, float] = {}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout
        for step in steps:
            line = process.stdout.readline()
            if not line:
                raise SystemExit(f"a process ended at the step {step}")
            at = json.loads(line)["at"]
            took[name_step(step)], last = at - last, at
        cpu_s = sum(processes.cpu_s(os.getpid()).values())
        pss_mb = sum(each.pss_mb for each in processes.memory(os.getpid()))
    return {"steps_s": took, "whole_s": last - began, "cpu_s": cpu_s, "pss_mb": pss_mb}


def name_step(step: str) -> str:
    """A version by its model."""
    return " and ".join(Path(part).parent.name or part for part in step.split(AT_ONCE))
