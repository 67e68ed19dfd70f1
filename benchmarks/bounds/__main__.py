"""``python -m benchmarks.bounds``: what the parts of an answer cost by themselves, and the most that the whole can do.

    python -m benchmarks.bounds --write       # the section of docs/benchmarks.md: about five minutes

It measures the graphs without HTTP, our gateway without a model, HTTP servers without a gateway, refusals, the steps of
a start, and a direct gRPC call; adds them up; and holds the goals that the last run of ``benchmarks.serving`` missed
against the sums. Only of one run on one machine that does nothing else do the figures belong together.
"""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import overload
from benchmarks.bounds import binary, graphs, refusals, report, servers, starting
from benchmarks.page import replace_section
from benchmarks.serving import processes
from benchmarks.serving.__main__ import train_missing
from benchmarks.serving.machine import machine
from benchmarks.serving.report import PAGE, RESULTS, read
from benchmarks.serving.roster import ENVIRONMENTS, ROOT
from benchmarks.serving.workload import load_all

OWN_RESULTS = ROOT / "benchmarks" / "results" / "bounds.jsonl"


def main(
    *,
    seconds: Annotated[float, typer.Option(help="Measured per point.", min=0.1)] = 2.0,
    store: Annotated[Path, typer.Option(help="Folder of the models.")] = ENVIRONMENTS / "store",
    measured: Annotated[Path, typer.Option(help="Rows of `benchmarks.serving` to hold against.")] = RESULTS,
    write: Annotated[bool, typer.Option("--write", help="Write the results and the page.")] = False,
) -> None:
    """Measure, print, and perhaps write."""
    processes.adopt_orphans()
    run = {"row": "run", "at": datetime.now(UTC).isoformat()} | machine()
    run["command"] = " ".join(("python -m benchmarks.bounds", *sys.argv[1:]))
    rows = [run]
    train_missing(store)
    store = store.resolve()
    workloads = load_all(store)
    for found in (
        graphs.measure(store, workloads, seconds),
        servers.measure_all(store, workloads, seconds),
        refusals.measure(store, workloads, seconds),
        starting.measure(store),
        binary.measure(store, seconds),
    ):
        for row in found:
            print(json.dumps(row), flush=True)
            rows.append(row)
    text = report.section(rows, read(measured), read(overload.RESULTS))
    print(text)
    if write:
        OWN_RESULTS.write_text("".join(json.dumps(row) + "\n" for row in rows))
        replace_section(PAGE, "bounds", text)


if __name__ == "__main__":
    typer.run(main)
