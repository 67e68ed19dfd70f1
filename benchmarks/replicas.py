"""Throughput with one and two gateways, and one and two model servers: ``python -m benchmarks.replicas --write``.

Each arrangement is started in turn, several rounds of all of them, so that the machine's moods hit all alike. Gateways
share a port, and share their calls among the model servers over TCP. Two ways of loading each:

- with all of the machine's cores: what a prediction costs there is what ``benchmarks.scaling_plan`` reckons with;
- each process with a fixed share of a core, as a pod's limit is one (``--share``, needs root): then a second one has
  processor time of its own also where all of them are on two cores.
"""

import json
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.core_shares import CoreShares, NoShares, core_shares
from benchmarks.page import replace_section
from benchmarks.served import free_ports
from benchmarks.serving import measure, processes
from benchmarks.serving.__main__ import train_missing
from benchmarks.serving.load import Plan
from benchmarks.serving.machine import machine
from benchmarks.serving.processes import Command
from benchmarks.serving.roster import ENVIRONMENTS, OURS, ROOT
from benchmarks.serving.workload import Workload, load_all
from modelyard.services.cli.commands.local.serve import ServeOptions, make_services, select_models
from modelyard.services.cli.processes.launch import LOOPBACK, ModelServerOptions

ARRANGEMENTS = ((1, 1), (2, 1), (1, 2), (2, 2))
"""Gateways and model servers."""
WORKLOADS = ("mnist_json", "sentiment")
CONNECTIONS = (32, 64)
SHARED_CONNECTIONS = 64
SHARE = 0.3
"""Of a core, for each process: four of them, and the load generator, fit on two cores."""
QUIET_S, BUSY_S = 60.0, 0.15
"""At most so long is waited; quiet is who uses no more processor time in a second."""
RESULTS = ROOT / "benchmarks" / "results" / "replicas.jsonl"
PAGE = ROOT / "docs" / "deploy.md"
KEYS = ("gateways", "servers", "share", "workload", "connections")
Row = dict[str, Any]


@dataclass(frozen=True)
class Effort:
    """How long to measure."""

    rounds: int
    seconds: float
    warm_s: float
    share: float


def commands(gateways: int, servers: int, port: int, store: Path, work: Path) -> list[Command]:
    """Model servers, then gateways, as ``modelyard serve --workers`` starts those."""
    options = ServeOptions(work, port, None, isolated=True, models_dir=store, workers=gateways)
    selection = select_models(options)
    apart, *found = make_services(options, selection)
    ports = free_ports(servers)
    addresses = ",".join(f"{LOOPBACK}:{each}" for each in ports)
    serving = [
        Command(
            [*apart.command[:3], *ModelServerOptions(selection.config, work / f"{each}.sock", each).flags],
            apart.environment,
        )
        for each in ports
    ]
    return [*serving, *(Command(each.command, {**each.environment, "MODELYARD_SERVING": addresses}) for each in found)]


def measure_arrangement(
    gateways: int, servers: int, workloads: Sequence[Workload], store: Path, effort: Effort
) -> Iterator[Row]:
    """One start of it: both ways of loading."""
    port = measure.free_port()
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mr-", ignore_cleanup_errors=True)))
        started = commands(gateways, servers, port, store, work)
        shares = stack.enter_context(core_shares(len(started))) if effort.share else None
        if shares:
            started = [replace(each, arguments=shares.wrap(at, each.arguments)) for at, each in enumerate(started)]
        stack.enter_context(processes.running(started, work / "log"))
        began = time.perf_counter()
        for workload in workloads:
            measure.wait_right(OURS, workload, port, began, work / "log")
        await_quiet()
        for workload in workloads:
            load(workload, port, CONNECTIONS[0], effort)  # the first runs of everything
        known = {"row": "load", "contender": OURS.name, "gateways": gateways, "servers": servers, "rate": None}
        for share, connections in list_points(shares, effort.share):
            if shares:
                shares.limit(share)
            for workload in workloads:
                point = {"share": share, "workload": workload.kind.name, "connections": connections}
                yield known | point | load(workload, port, connections, effort)
        if shares:
            shares.limit(None)


def await_quiet() -> None:
    """Until the servers have warmed up, which goes on when they answer already."""
    deadline, before = time.monotonic() + QUIET_S, -1.0
    while (now := sum(processes.cpu_s(os.getpid()).values())) - before > BUSY_S and time.monotonic() < deadline:
        before = now
        time.sleep(1)


def list_points(shares: CoreShares | None, share: float) -> Iterator[tuple[float | None, int]]:
    """Share of a core for each process, and connections."""
    yield from ((None, connections) for connections in CONNECTIONS)
    if shares:
        yield share, SHARED_CONNECTIONS


def load(workload: Workload, port: int, connections: int, effort: Effort) -> Row:
    plan = Plan(
        port=port,
        requests=workload.requests(OURS, port),
        expected=workload.expected,
        form=workload.form(OURS),
        connections=connections,
        seconds=effort.seconds,
        warm_s=effort.warm_s,
        watched=os.getpid(),
    )
    return measure.run(plan)


def merge(rows: Sequence[Row]) -> Iterator[Row]:
    """One row for each point: its best round, as other work on the machine can only take away."""
    points: Mapping[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        points[tuple(row[key] for key in KEYS)].append(row)
    for found in points.values():
        counted = {key: sum(row[key] for row in found) for key in ("right", "errors", "wrong")}
        yield {
            **max(found, key=lambda row: float(row["rps"])),
            "rounds": [round(row["rps"]) for row in found],
            "all_rounds": counted,
        }


def render(rows: Sequence[Row]) -> str:
    """What stands in docs/deploy.md."""
    run, points = rows[0], [row for row in rows if row["row"] == "load"]
    conditions = (
        f"Measured {run['at'][:16].replace('T', ' ')} UTC on {run['cores']} cores of {run['processor']}, with the load "
        f"generator on them; load average before: {run['load_before']}. `{run['command']}`. Right answers per second; "
        "p50/p99 in ms; CPU-ms of gateways + model servers for a right answer. The best of all rounds for each cell."
    )
    lines = [conditions]
    for name in WORKLOADS:
        wide = [row for row in points if row["workload"] == name]
        shares = sorted({row["share"] for row in wide if row["share"] is not None})
        heads = [f"all of both cores, {each} connections" for each in CONNECTIONS]
        heads += [f"{each} of a core for each process, {SHARED_CONNECTIONS} connections" for each in shares]
        lines += ["", f"| `{name}`: gateways x model servers | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
        for gateways, servers in ARRANGEMENTS:
            found = [row for row in wide if (row["gateways"], row["servers"]) == (gateways, servers)]
            columns = [(None, each) for each in CONNECTIONS] + [(each, SHARED_CONNECTIONS) for each in shares]
            cells = [describe(found, share, connections) for share, connections in columns]
            lines.append(f"| {gateways} x {servers} | {' | '.join(cells)} |")
    counted = {key: sum(row["all_rounds"][key] for row in points) for key in ("right", "errors", "wrong")}
    said = (
        f"In all rounds {counted['right']:,} right answers, {counted['errors']:,} errors, {counted['wrong']:,} wrong."
    )
    return "\n".join([*lines, "", said])


def describe(rows: Sequence[Row], share: float | None, connections: int) -> str:
    for row in rows:
        if (row["share"], row["connections"]) == (share, connections):
            serving_ms = row["cpu_ms"] - row["gateway_cpu_ms"]
            return (
                f"{row['rps']:,.0f}; {row['p50_ms']:.0f}/{row['p99_ms']:.0f}; "
                f"{row['gateway_cpu_ms']:.2f} + {serving_ms:.2f}"
            )
    return "-"


def main(
    *,
    store: Annotated[Path, typer.Option(help="Folder of the models; what is missing is trained.")] = ENVIRONMENTS
    / "store",
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    seconds: Annotated[float, typer.Option(help="Measured per point and round.")] = 2.5,
    warm_seconds: Annotated[float, typer.Option(help="Before each point.")] = 1.0,
    share: Annotated[float, typer.Option(help="Of a core for each process; 0: that is not measured.")] = SHARE,
    write: Annotated[bool, typer.Option("--write", help="Write the results, and the part of docs/deploy.md.")] = False,
) -> None:
    """Measure, print, and perhaps write."""
    processes.adopt_orphans()
    run = {"row": "run", "at": datetime.now(UTC).isoformat(), "share": share} | machine()
    run["command"] = f"python -m benchmarks.replicas --rounds {rounds} --seconds {seconds:g}"
    train_missing(store)
    try:
        with core_shares(1):
            pass
    except NoShares as error:
        print(f"no shares of a core: {error}")
        share = 0
    found = load_all(store.resolve())
    workloads = [found[name] for name in WORKLOADS]
    effort = Effort(rounds, seconds, warm_seconds, share)
    rows: list[Row] = []
    for number in range(rounds):
        for gateways, servers in ARRANGEMENTS:
            for row in measure_arrangement(gateways, servers, workloads, store.resolve(), effort):
                print(
                    f"round {number + 1}: {gateways} x {servers}, {row['workload']}, {row['connections']} connections, "
                    f"share {row['share']}: {row['rps']:,.0f}/s, errors {row['errors']}, wrong {row['wrong']}",
                    flush=True,
                )
                rows.append(row)
    rows = [run, *merge(rows)]
    print(render(rows))
    if write:
        RESULTS.write_text("".join(json.dumps(row) + "\n" for row in rows))
        replace_section(PAGE, "replicas", render(rows))


if __name__ == "__main__":
    typer.run(main)
