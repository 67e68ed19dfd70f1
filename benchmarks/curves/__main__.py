"""Where our serving bends: ``python -m benchmarks.curves --store .bench/store --write``.

Three curves per model, each against what it costs in processor time: rows in one request, connections of a closed loop,
and gateways in front of one model server. The *knee* of a curve is its first point with nine tenths of the highest
throughput: beyond it, more only waits. Every answer is checked. ``--write`` replaces the section between the marks in
``docs/benchmarks.md`` and draws ``docs/curves.svg``.
"""

import contextlib
import http.client
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from benchmarks.curves.page import GATEWAY_CONNECTIONS, Point, draw, section
from benchmarks.page import replace_section
from benchmarks.serving import measure, ours, processes
from benchmarks.serving.load import Plan
from benchmarks.serving.plot import WORKLOADS
from benchmarks.serving.processes import Command, running
from benchmarks.serving.roster import CONTENDERS
from benchmarks.serving.tally import percentile
from benchmarks.serving.workload import Workload, load_all
from modelyard.client import Client
from modelyard.services.cli.gateway import responds_ok

ROWS = (1, 2, 4, 8, 16, 32, 64, 128)
CONNECTIONS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
GATEWAYS = (1, 2, 3)
WARM_S = 1.0
START_S = 60.0
OURS = next(contender for contender in CONTENDERS if contender.name == "modelyard")
DOCS = Path(__file__).parents[2] / "docs"
RESULTS = Path(__file__).parents[1] / "results" / "curves.jsonl"


def server_cpu_s() -> float:
    """Processor time so far of all that we started, but for load generators and the command that watches."""
    spent = processes.cpu_s(os.getpid())
    names = {process.pid: process.command for process in processes.memory(os.getpid())}
    return sum(seconds for pid, seconds in spent.items() if "-m services." in names.get(pid, ""))


class Outcome(NamedTuple):
    """What came of asking for a while."""

    rows: int
    """Right ones."""
    seconds: float
    p50_ms: float
    p99_ms: float


def measure_point(work: Callable[[], Outcome], workload: Workload, curve: str, x: int) -> Point:
    """A point of a curve: what ``work`` comes to, and what it costs the servers."""
    before = server_cpu_s()
    found = work()
    cpu_ms = 1000 * (server_cpu_s() - before) / max(found.rows, 1)
    return Point(workload.kind.name, curve, x, found.rows / found.seconds, found.p50_ms, found.p99_ms, cpu_ms)


def sweep_rows(workload: Workload, port: int, seconds: float) -> Iterator[Point]:
    for size in ROWS:
        ask = make_timed_call(workload, port, size)
        call_repeatedly(ask, WARM_S)

        yield measure_point(partial(time_calls, ask, size, seconds), workload, "rows", size)


def time_calls(ask: Callable[[], float], size: int, seconds: float) -> Outcome:
    """Requests of ``size`` rows, each after the last one's answer."""
    took_ms = sorted(call_repeatedly(ask, seconds))
    p50, p99 = (percentile(took_ms, share) or 0.0 for share in (0.5, 0.99))
    return Outcome(size * len(took_ms), sum(took_ms) / 1000, p50, p99)


def make_timed_call(workload: Workload, port: int, size: int) -> Callable[[], float]:
    """Asks for ``size`` rows at once and returns the time that it took, in ms; a wrong answer ends the benchmark."""
    chosen = list(itertools.islice(itertools.cycle(range(len(workload.inputs))), size))
    body = json.dumps({"instances": [workload.inputs[index] for index in chosen]}).encode()
    right = [workload.expected[index].class_id for index in chosen]
    path = OURS.path.format(model=workload.kind.model)
    connection = http.client.HTTPConnection("127.0.0.1", port)

    def ask() -> float:
        started = time.perf_counter()
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse().read()
        took_ms = 1000 * (time.perf_counter() - started)
        if [row["class_id"] for row in json.loads(answer).get("predictions", [])] != right:
            raise SystemExit(f"{path} answered wrongly: {answer[:300].decode(errors='replace')}")
        return took_ms

    return ask


def call_repeatedly(ask: Callable[[], float], seconds: float) -> list[float]:
    until = time.perf_counter() + seconds
    took_ms = [ask()]
    while time.perf_counter() < until:
        took_ms.append(ask())
    return took_ms


def sweep_connections(workload: Workload, port: int, seconds: float) -> Iterator[Point]:
    for connections in CONNECTIONS:
        yield measure_load(workload, (port,), connections, seconds, "connections", connections)


def sweep_gateways(workload: Workload, ports: Sequence[int], seconds: float) -> Iterator[Point]:
    for count in GATEWAYS:
        yield measure_load(workload, ports[:count], GATEWAY_CONNECTIONS, seconds, "gateways", count)


def measure_load(
    workload: Workload, ports: Sequence[int], connections: int, seconds: float, curve: str, x: int
) -> Point:
    """A closed loop over all of these gateways at once, one generator for each."""

    def run(seconds: float) -> list[dict[str, Any]]:
        def one(port: int) -> dict[str, Any]:
            requests = workload.requests(OURS, port)
            share = connections // len(ports)
            return measure.run(
                Plan(port, requests, workload.expected, workload.form(OURS), share, seconds=seconds, warm_s=0.0)
            )

        with ThreadPoolExecutor(len(ports)) as pool:
            return list(pool.map(one, ports))

    def work() -> Outcome:
        found = run(seconds)
        if bad := sum(row["wrong"] + row["errors"] for row in found):
            print(f"{bad} wrong or failed at {x} {curve}")
        p50, p99 = (max(row[key] or 0.0 for row in found) for key in ("p50_ms", "p99_ms"))
        return Outcome(sum(row["right"] for row in found), seconds, p50, p99)

    run(WARM_S)
    return measure_point(work, workload, curve, x)


@contextlib.contextmanager
def run_serving(store: Path, work: Path) -> Iterator[list[int]]:
    """Ports of all gateways before one model server; the first is ``modelyard serve``'s own."""
    port = measure.free_port()
    with running(ours.commands(port, store, work), work / "log"):
        wait_until_up(port)
        more = [measure.free_port() for _ in GATEWAYS[1:]]
        with running([make_gateway_command(each, port + 1, store) for each in more], work / "log-more"):
            for each in more:
                wait_until_up(each)
            yield [port, *more]


def make_gateway_command(port: int, serving_port: int, store: Path) -> Command:
    environment = {"PORT": port, "SERVING": f"127.0.0.1:{serving_port}", "STORE": store}
    variables = {f"MODELYARD_{name}": str(value) for name, value in environment.items()}
    return Command([sys.executable, "-m", "modelyard.services.gateway"], variables)


def wait_until_up(port: int) -> None:
    deadline, client = time.monotonic() + START_S, Client(f"http://127.0.0.1:{port}")
    while not responds_ok(client, "/readyz"):
        if time.monotonic() > deadline:
            raise SystemExit(f"no gateway is ready on port {port}")
        time.sleep(0.1)


def measure_workloads(workloads: Mapping[str, Workload], store: Path, seconds: float) -> Iterator[Point]:
    """Every curve of every workload, point by point."""
    with (
        tempfile.TemporaryDirectory(prefix="mc-", ignore_cleanup_errors=True) as folder,
        run_serving(store, Path(folder)) as ports,
    ):
        for workload in (workloads[name] for name in WORKLOADS):
            yield from sweep_rows(workload, ports[0], seconds)
            yield from sweep_connections(workload, ports[0], seconds)
            yield from sweep_gateways(workload, ports, seconds)


def main(
    store: Annotated[Path, typer.Option(exists=True, file_okay=False, help="Folder of the models.")],
    seconds: Annotated[float, typer.Option(help="Measured per point.")] = 3.0,
    *,
    write: Annotated[bool, typer.Option("--write", help="Write the results, the page and the plot.")] = False,
) -> None:
    """Measure, print, and perhaps write."""
    processes.adopt_orphans()
    points = []
    for point in measure_workloads(load_all(store.resolve()), store.resolve(), seconds):
        points.append(point)
        print(point, flush=True)
    text = section(points, seconds)
    print(text)
    if write:
        RESULTS.write_text("".join(json.dumps(asdict(point)) + "\n" for point in points))
        draw(points, DOCS / "curves.svg")
        replace_section(DOCS / "benchmarks.md", "curves", text)


if __name__ == "__main__":
    typer.run(main)
