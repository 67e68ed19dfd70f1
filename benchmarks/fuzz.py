"""Thousands of requests made from the gateway's own OpenAPI document: ``python -m benchmarks.fuzz --cases 20000``.

A real gateway process stands in front of a fake model server and a real Redis; right and wrong requests for every
operation are sent in turns, and every answer is checked against the document. Reported: cases, answers by status, 5xx
that were not promised, violations of the document, whether the process is the same, and how its memory grew after the
first tenth. One line of JSON is appended to ``benchmarks/results/fuzz.jsonl``.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import httpx
import psutil
import requests
import typer
from schemathesis.core.failures import FailureGroup

from modelyard.models.catalog import FILE as CATALOG
from modelyard.models.catalog import Catalog, TrainableModel
from modelyard.services.cli.processes import redis_server
from tests.support.fakes import FakeModelServer, fill
from tests.support.fuzzing import MODES, TRAINABLE, Fuzzer

RESULTS = Path(__file__).parent / "results" / "fuzz.jsonl"
ROOT = Path(__file__).parent.parent
MAX_GROWTH_MB = 64
PER_TURN = 60
"""Cases of one kind for one operation, before the next one's turn."""
WARM_UP = 0.1
"""Share of the cases after which memory is first measured."""
START_S = 30


def main(
    cases: Annotated[int, typer.Option(help="How many requests at least.")] = 20_000,
    seed: Annotated[int, typer.Option(help="Another one makes other requests.")] = 0,
) -> None:
    """Fuzz, report, remember."""
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as (process, url, server):
        started = time.monotonic()
        row = fuzz(process, url, server, cases, seed)
        row |= {"at": datetime.now(UTC).isoformat(timespec="seconds"), "s": round(time.monotonic() - started)}
    with RESULTS.open("a") as file:
        file.write(json.dumps(row) + "\n")
    print(json.dumps(row, indent=1))
    good = row["same_process"] and not row["failures"] and row["growth_mb"] < MAX_GROWTH_MB
    raise SystemExit(0 if good else 1)


def fuzz(process: psutil.Process, url: str, server: FakeModelServer, cases: int, seed: int) -> dict[str, Any]:
    """Turns over all operations until there were so many cases."""
    fuzzer, failures, before = Fuzzer(url), dict[str, str](), None
    operations, turn = fuzzer.all_operations, 0

    def check(case: Any) -> None:
        try:
            fuzzer.checked(case)
        except (FailureGroup, requests.RequestException) as error:  # each kind once, instead of an end at the first
            for failure in error.exceptions if isinstance(error, FailureGroup) else [error]:
                kind = f"{case.operation.label}: {str(failure).splitlines()[0]}"
                failures.setdefault(kind, f"{failure} {case.as_curl_command()}"[:2000])

    while fuzzer.statuses.total() < cases:
        for operation in operations:
            for mode in MODES:
                fuzzer.send(operation, mode, PER_TURN, seed + turn, check)
        server.calls.clear()
        turn += 1
        done = fuzzer.statuses.total()
        if before is None and done >= WARM_UP * cases:
            before = process.memory_info().rss
        print(f"{done} cases, {process.memory_info().rss / 2**20:.1f} MB, {len(failures)} failures", flush=True)
    return {
        "cases": fuzzer.statuses.total(),
        "operations": len(operations),
        "statuses": dict(sorted(fuzzer.statuses.items())),
        "failures": failures,
        "same_process": process.is_running() and process.status() != psutil.STATUS_ZOMBIE,
        "rss_mb": round(process.memory_info().rss / 2**20, 1),
        "growth_mb": round((process.memory_info().rss - (before or 0)) / 2**20, 1),
    }


@contextlib.contextmanager
def running(home: Path) -> Iterator[tuple[psutil.Process, str, FakeModelServer]]:
    """A gateway with all that it talks to."""
    store, broker = fill(home / "store"), home / "redis.sock"
    trainable = TrainableModel(
        name=TRAINABLE, task="regression", summary="", dataset="", homepage="", recipes={"quick": {}}
    )
    (store.root / CATALOG).write_text(Catalog(digest="", trainable={TRAINABLE: trainable}).model_dump_json())
    queue = redis_server.build_command(redis_server.find_server(), broker, home)
    with FakeModelServer(store) as server, process_of(queue, {}, home / "redis.log"):
        port = free_port()
        settings = {
            "port": port, "store": store.root, "serving": server.address, "ledger_url": f"sqlite:///{home}/ledger.db",
            "broker_url": redis_server.make_broker_url(broker),
        }  # fmt: skip
        variables = {f"MODELYARD_{name.upper()}": str(value) for name, value in settings.items()}
        command = [sys.executable, "-m", "modelyard.services.gateway"]
        with process_of(command, variables, home / "gateway.log") as gateway:
            url = f"http://127.0.0.1:{port}"
            wait_until_ready(url)
            yield psutil.Process(gateway.pid), url, server


@contextlib.contextmanager
def process_of(command: list[str], variables: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=os.environ | variables, cwd=ROOT, stdout=file, stderr=file)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(START_S)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def wait_until_ready(url: str) -> None:
    """Raises ``TimeoutError``."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/readyz", trust_env=False).status_code == httpx.codes.OK:
                return
        time.sleep(0.1)
    raise TimeoutError(f"{url} did not become ready within {START_S} s")


if __name__ == "__main__":
    typer.run(main)
