"""``python -m benchmarks.serving``: installs the peers, measures everybody, and with ``--write`` writes the page.

    python -m benchmarks.serving --write                       # what docs/benchmarks.md shows: about an hour
    python -m benchmarks.serving --peer modelyard --peer mosec --workload sentiment --connections 32 --seconds 3

It measures a store that holds ``mnist_cnn`` and ``sentiment_lstm``, and trains what is missing (about a minute).
"""

import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from benchmarks.serving import processes, report
from benchmarks.serving.install import install, versions
from benchmarks.serving.machine import machine
from benchmarks.serving.measure import Effort, NotAnswering, Row, contender_rows
from benchmarks.serving.roster import CONTENDERS, ENVIRONMENTS, ROOT, Contender
from benchmarks.serving.workload import KINDS, Kind, Workload, load_all

CONNECTIONS = (1, 8, 32, 64)
MAX_IDLE_LOAD = 0.5
"""Load average up to which a machine counts as doing nothing else."""
MODELS = ("mnist_cnn", "sentiment_lstm")

Named = TypeVar("Named", Contender, Kind)


def main(
    *,
    peer: Annotated[list[str] | None, typer.Option(help="Contender; may be repeated; all without it.")] = None,
    workload: Annotated[list[str] | None, typer.Option(help="May be repeated; all without it.")] = None,
    connections: Annotated[list[int] | None, typer.Option(help="Of closed loops, up to 512; may be repeated.")] = None,
    rate: Annotated[list[int] | None, typer.Option(help="Of open loops, per second; 0: none.")] = None,
    seconds: Annotated[float, typer.Option(help="Measured per point.")] = 10.0,
    warm_seconds: Annotated[float, typer.Option(help="Before each point.")] = 2.0,
    starts: Annotated[int, typer.Option(help="Cold starts per contender.", min=1)] = 3,
    store: Annotated[Path, typer.Option(help="Folder of the models.")] = ENVIRONMENTS / "store",
    write: Annotated[bool, typer.Option("--write", help="Write the results and the page.")] = False,
) -> None:
    """Measure, print, and perhaps write."""
    chosen = pick(CONTENDERS, peer, "peer")
    kinds = {kind.name for kind in pick(KINDS, workload, "workload")}
    rates = None if rate is None else tuple(each for each in rate if each)
    effort = Effort(tuple(connections or CONNECTIONS), rates, seconds, warm_seconds, starts)
    processes.adopt_orphans()
    rows: list[Row] = [{"row": "run", "at": datetime.now(UTC).isoformat()} | machine()]
    if rows[0]["load_before"] > MAX_IDLE_LOAD:
        print(f"load average {rows[0]['load_before']}: something else runs here; these numbers will mean little")
    train_missing(store)
    workloads = load_all(store.resolve())
    wanted = [each for each in workloads.values() if each.kind.name in kinds]
    starting = [workloads["mnist_json"], workloads["sentiment"]]
    rows[0]["command"] = " ".join(("python -m benchmarks.serving", *sys.argv[1:]))
    for contender in chosen:
        rows += measure_contender(contender, wanted, starting, store.resolve(), effort)
    print(report.page_section(rows))
    if write:
        report.write(rows)


def pick(known: Sequence[Named], names: Sequence[str] | None, what: str) -> list[Named]:
    """Those named, in their own order; all if none is.

    Raises:
        typer.BadParameter: a name is unknown.
    """
    if unknown := sorted(set(names or ()) - {each.name for each in known}):
        raise typer.BadParameter(f"{what}: expected {', '.join(each.name for each in known)}; received {unknown[0]}")
    return [each for each in known if not names or each.name in names]


def measure_contender(
    contender: Contender, workloads: Sequence[Workload], models: Sequence[Workload], store: Path, effort: Effort
) -> list[Row]:
    """All rows of one contender; one that says why, if it cannot be installed or does not answer."""
    who: Row = {"contender": contender.name}
    if contender.folder:
        who |= {"versions": versions(contender.folder, contender.versions)}
        if reason := install(contender.folder):
            return [who | {"row": "failed", "reason": reason}]
    rows: list[Row] = []
    try:
        for row in contender_rows(contender, workloads, models, store, effort):
            print(report.line(contender.name, row), flush=True)
            rows.append(who | row)
    except NotAnswering as error:
        print(f"{contender.name}: {error}", flush=True)
        rows.append(who | {"row": "failed", "reason": str(error)})
    return rows


def train_missing(store: Path) -> None:
    """One version of each model, by the pipeline; real data if there is any."""
    for model in MODELS:
        if not any(path.name.isdecimal() for path in (store / model).glob("*")):
            command = [sys.executable, "-m", "modelyard.pipeline", model, "--store", str(store)]
            subprocess.run(command, cwd=ROOT, check=True)


if __name__ == "__main__":
    typer.run(main)
