"""Our gateway without a model, and HTTP servers without a gateway, under the benchmark's own load generator."""

import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.serving import measure, processes
from benchmarks.serving.answers import Expected
from benchmarks.serving.install import install
from benchmarks.serving.load import Plan
from benchmarks.serving.processes import Command
from benchmarks.serving.roster import ENVIRONMENTS, OURS, ROOT
from benchmarks.serving.workload import Workload

CONNECTIONS = (1, 8, 32, 64)
WARM_S = 0.5
GATEWAY = "gateway"
PEER = "fastapi"
"""Its environment has uvicorn, httptools and uvloop."""
OURS_PLAIN, PEER_PLAIN = ("granian", "granian-parsed"), ("uvicorn", "bare")
START_S = 30.0

Row = dict[str, Any]


def measure_all(store: Path, workloads: Mapping[str, Workload], seconds: float) -> Iterator[Row]:
    """Rows of every server; JSON bodies alone for those without a gateway."""
    of_ones = {name: replace(each, expected=ones(each)) for name, each in workloads.items()}
    answers = {}
    with running_gateway(store) as port:
        for name, workload in of_ones.items():
            status, body = measure.ask(port, workload.requests(OURS, port)[0])
            if status != 200:
                raise SystemExit(body.decode(errors="replace"))
            answers[name] = body.decode()
            yield from points(GATEWAY, workload, port, seconds)
    reason = install(PEER)
    if reason:
        print(f"no uvicorn and no bare protocol: {reason}", flush=True)
    for server in (*OURS_PLAIN, *(() if reason else PEER_PLAIN)):
        for name in ("mnist_json", "sentiment"):
            with running_plain(server, answers[name]) as port:
                yield from points(server, of_ones[name], port, seconds)


def ones(workload: Workload) -> tuple[Expected, ...]:
    """What the replica that costs nothing answers to each input."""
    return tuple(Expected((1.0,) * len(each.probabilities), 1) for each in workload.expected)


def points(server: str, workload: Workload, port: int, seconds: float) -> Iterator[Row]:
    """Closed loops. Raises ``SystemExit`` if not every answer is the expected one."""
    for connections in CONNECTIONS:
        plan = Plan(
            port=port,
            requests=workload.requests(OURS, port),
            expected=workload.expected,
            form=workload.form(OURS),
            connections=connections,
            seconds=seconds,
            warm_s=WARM_S,
            watched=os.getpid(),
        )
        found = measure.run(plan)
        if found["errors"] or found["wrong"] or not found["right"]:
            raise SystemExit(f"{server}, {workload.kind.name}, {connections} connections: {found}")
        yield {"row": "http", "server": server, "workload": workload.kind.name, "connections": connections} | found


# --- processes --------------------------------------------------------------------------------------------------------


@contextmanager
def running_gateway(store: Path, *options: str) -> Iterator[int]:
    """The port of our gateway before a model that costs nothing."""

    def make_command(port: int, work: Path) -> Command:
        module = "benchmarks.bounds.without_model"
        arguments = [sys.executable, "-m", module, str(store), str(port), str(work), *options]
        return Command(arguments, {"PYTHONPATH": str(ROOT)})

    with running(make_command) as port:
        yield port


@contextmanager
def running_plain(server: str, answer: str) -> Iterator[int]:
    """The port of a server that answers everything with ``answer``."""
    python = str(ENVIRONMENTS / PEER / "bin" / "python") if server in PEER_PLAIN else sys.executable

    def make_command(port: int, work: Path) -> Command:
        del work
        variables = {"BOUNDS_ANSWER": answer, "PYTHONPATH": str(ROOT)}
        return Command([python, "-m", "benchmarks.bounds.plain_http", server, str(port)], variables)

    with running(make_command) as port:
        yield port


@contextmanager
def running(make_command: Callable[[int, Path], Command]) -> Iterator[int]:
    """Until the end of the block, from the first accepted connection on."""
    port = measure.free_port()
    with tempfile.TemporaryDirectory(prefix="mo-", ignore_cleanup_errors=True) as folder:
        log = Path(folder) / "log"
        with processes.running([make_command(port, Path(folder))], log):
            await_listening(port, log)
            yield port


def await_listening(port: int, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and processes.descendants(os.getpid()):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(measure.POLL_S)
    raise SystemExit(f"did not listen: {log.read_text(errors='replace')[-500:]}")
