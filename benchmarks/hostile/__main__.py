"""How long a hostile caller can hold the gateway's event loop: ``python -m benchmarks.hostile [--match TEXT]``.

A real gateway process stands in front of a fake model server; every case of ``benchmarks.hostile.cases`` is sent to
it, and the gateway's own metric says how long its loop was held meanwhile. A case after which that is more than half of
the limit is repeated in a gateway of its own, and the shortest of these holds counts: what a case does is the same each
time, and what else the machine does only adds. Reported: the longest hold per case and overall, answers by status,
and cases without an answer. One line of JSON is appended to ``benchmarks/results/hostile.jsonl``. Exit status 1: a hold
above 50 ms, a status of 500, no answer, or a process that ended.
"""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import httpx
import psutil
import typer

from benchmarks.hostile.cases import BULK_S, EXTERNAL, LINES, STRINGS, Case, all_cases
from benchmarks.page import replace_section
from benchmarks.served import free_ports
from benchmarks.serving.machine import machine
from modelyard.models.tfserving.messages import get_model_metadata_pb2
from tests.support.fakes import FakeModelServer, fill

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parents[1] / "results" / "hostile.jsonl"
PAGE = ROOT / "docs" / "reliability.md"
LIMIT_S = 0.05
REPEATED_S = LIMIT_S / 2
"""A case that holds the loop for longer gets a gateway of its own."""
REPEATS = 3
ANSWER_S = 60
START_S = 30
HOLD = re.compile(r"^modelyard_gateway_event_loop_longest_hold_seconds (\S+)$", re.MULTILINE)
NONE = "none"
"""In place of a status, where there was no answer."""


@dataclass
class Gateway:
    """A gateway's process, and what was seen of it."""

    url: str
    process: psutil.Process

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def longest_hold_s(self) -> float:
        found = HOLD.search(httpx.get(f"{self.url}/metrics", trust_env=False, timeout=ANSWER_S).text)
        assert found
        return float(found[1])


@dataclass
class Seen:
    """One case's answers and its longest hold."""

    case: Case
    hold_s: float
    statuses: Counter[str] = field(default_factory=Counter)


def main(
    match: Annotated[str, typer.Option(help="Only cases whose name holds this.")] = "",
    write: Annotated[bool, typer.Option(help="Write the result into docs/reliability.md.")] = False,
) -> None:
    """Send everything, report, remember."""
    cases = [case for case in all_cases() if match in case.name]
    with tempfile.TemporaryDirectory() as folder, model_server(Path(folder)) as server:
        seen = run_all(cases, Path(folder), server)
    row = summarise(seen)
    with RESULTS.open("a") as file:
        file.write(json.dumps(row) + "\n")
    print(json.dumps(row, indent=1))
    if write:
        replace_section(PAGE, "hostile", render(row))
    raise SystemExit(0 if row["longest_hold_ms"] <= 1000 * LIMIT_S and not row["failures"] else 1)


def run_all(cases: Sequence[Case], folder: Path, server: FakeModelServer) -> list[Seen]:
    """Each case in turn: in a gateway that all share, and where that was held, in some of its own."""
    seen: list[Seen] = []
    left = list(cases)
    while left:
        with gateway(folder, server) as shared:
            warm_up(shared)
            while left and (found := run(left[0], shared)).hold_s <= REPEATED_S:
                keep(left.pop(0), found, seen)
        if left:
            keep(left[0], run_repeatedly(left.pop(0), folder, server), seen)
    return seen


def run_repeatedly(case: Case, folder: Path, server: FakeModelServer) -> Seen:
    """The run with the shortest of its longest holds."""
    runs: list[Seen] = []
    while len(runs) < REPEATS and not (runs and runs[-1].hold_s <= REPEATED_S):
        with gateway(folder, server) as alone:
            warm_up(alone)
            runs.append(run(case, alone))
    return min(runs, key=lambda found: found.hold_s)


def keep(case: Case, found: Seen, seen: list[Seen]) -> None:
    seen.append(found)
    statuses = " ".join(f"{status}x{count}" for status, count in found.statuses.items())
    print(f"{1000 * found.hold_s:8.1f} ms  {statuses:10} {case.name}", flush=True)


def run(case: Case, gateway: Gateway) -> Seen:
    """Sends a case on as many connections as it takes, and waits for all answers."""
    body, statuses = case.make(), Counter[str]()
    threads = [threading.Thread(target=exchange, args=(case, body, gateway, statuses)) for _ in range(case.copies)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with contextlib.suppress(httpx.TransportError):
        return Seen(case, gateway.longest_hold_s(), statuses)
    return Seen(case, 0.0, Counter({"ended": 1}))


def exchange(case: Case, body: bytes, gateway: Gateway, statuses: Counter[str]) -> None:
    """One connection's part of a case; what is read while it is sent is thrown away."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=ANSWER_S) as connection:
        sender = threading.Thread(target=send, args=(connection, case, body), daemon=True)
        sender.start()
        until = time.monotonic() + (BULK_S if case.content_type == LINES else ANSWER_S)
        received, tail = b"", b""
        with contextlib.suppress(OSError):
            while time.monotonic() < until and (chunk := connection.recv(1 << 20)):
                received, tail = (received + chunk)[:1_000_000], (tail + chunk)[-5:]
                if case.content_type != LINES and count_answers(received) >= case.pipelined:
                    break
                if tail == b"0\r\n\r\n":
                    break
        found = re.findall(rb"HTTP/1\.1 (\d{3})", received)
        statuses.update(status.decode() for status in found or [NONE.encode()])
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        sender.join(ANSWER_S)


def count_answers(received: bytes) -> int:
    """Heads of answers; whose bodies are short, or of no interest."""
    return received.count(b"HTTP/1.1 ") if received.endswith((b"}", b"]", b"\n")) else 0


def send(connection: socket.socket, case: Case, body: bytes) -> None:
    length = "Transfer-Encoding: chunked" if case.chunk_bytes else f"Content-Length: {len(body)}"
    lines = (
        f"{case.method} {case.path} HTTP/1.1",
        "Host: localhost",
        f"Content-Type: {case.content_type}",
        length,
        *case.headers,
    )
    head = "\r\n".join([*lines, "", ""]).encode()
    if case.chunk_bytes:
        size = case.chunk_bytes
        chunks = (body[start : start + size] for start in range(0, len(body), size))
        body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    with contextlib.suppress(OSError):  # refused before all of it was sent
        connection.sendall((head + body) * case.pipelined)


def summarise(seen: Sequence[Seen]) -> dict[str, Any]:
    statuses = sum((found.statuses for found in seen), Counter[str]())
    bad = [found.case.name for found in seen if {"500", NONE, "ended"} & found.statuses.keys()]
    longest = sorted(seen, key=lambda found: found.hold_s, reverse=True)
    return {
        "cases": len(seen),
        "longest_hold_ms": round(1000 * longest[0].hold_s, 1),
        "longest": {found.case.name: round(1000 * found.hold_s, 1) for found in longest[:10]},
        "above_limit": sum(found.hold_s > LIMIT_S for found in seen),
        "statuses": dict(sorted(statuses.items())),
        "failures": bad,
        "machine": machine(),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def render(row: dict[str, Any]) -> str:
    """The table of the page."""
    lines = [f"| {name} | {hold_ms:.1f} |" for name, hold_ms in row["longest"].items()]
    return "\n".join([f"| the longest of {row['cases']} | ms |", "|---|---|", *lines])


# --- what is needed for it --------------------------------------------------------------------------------------------


@contextlib.contextmanager
def model_server(folder: Path) -> Iterator[FakeModelServer]:
    """Three published models, and two that only the model server knows."""
    with FakeModelServer(fill(folder / "store")) as server:
        server.loaded |= {(EXTERNAL, 1), (STRINGS, 1)}
        signatures = get_model_metadata_pb2.SignatureDefMap()
        signature = signatures.signature_def["serving_default"]
        signature.method_name = "tensorflow/serving/predict"
        signature.inputs["vectors"].name, signature.inputs["vectors"].dtype = "vectors:0", 7
        signature.inputs["vectors"].tensor_shape.unknown_rank = True
        signature.outputs["value"].name, signature.outputs["value"].dtype = "value:0", 7
        signature.outputs["value"].tensor_shape.unknown_rank = True
        server.signatures_of[STRINGS] = signatures
        yield server


@contextlib.contextmanager
def gateway(folder: Path, server: FakeModelServer) -> Iterator[Gateway]:
    """A gateway that is ready."""
    (port,) = free_ports(1)
    settings = {
        "port": port, "store": folder / "store", "serving": server.address, "external_models": f"{EXTERNAL},{STRINGS}",
        "ledger_url": f"sqlite:///{folder}/ledger.db", "broker_url": f"redis+socket://{folder}/no.sock",
    }  # fmt: skip
    variables = {f"MODELYARD_{name.upper()}": str(value) for name, value in settings.items()}
    command = [sys.executable, "-m", "modelyard.services.gateway"]
    with (folder / "gateway.log").open("ab") as log:
        process = subprocess.Popen(command, env=os.environ | variables, cwd=ROOT, stdout=log, stderr=log)
    try:
        wait_until_ready(found := Gateway(f"http://127.0.0.1:{port}", psutil.Process(process.pid)))
        yield found
    finally:
        process.kill()
        process.wait()


def warm_up(gateway: Gateway) -> None:
    """One ordinary request of a kind."""
    with httpx.Client(base_url=gateway.url, trust_env=False, timeout=ANSWER_S) as client:
        client.post("/v1/models/half_plus:predict", json={"instances": [[1.0]]}).raise_for_status()


def wait_until_ready(gateway: Gateway) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{gateway.url}/readyz", trust_env=False).status_code == httpx.codes.OK:
                return
        time.sleep(0.05)
    raise SystemExit("the gateway did not become ready")


if __name__ == "__main__":
    typer.run(main)
