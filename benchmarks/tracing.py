"""What tracing costs: ``python -m benchmarks.tracing [--seconds 4] [--turns 5]``.

Three times gateway and model server as ``modelyard serve --isolated`` starts them, of the same small model: without
tracing, with one trace in a hundred recorded, and with all. The same prediction at 1 and at 32 connections, in turns,
so that the machine's moods hit all alike; processor time of both processes, by request. The receiver takes everything
and keeps nothing, in this process, whose time does not count. Prints figures, and appends them to
``benchmarks/results/tracing.jsonl``.
"""

import json
import os
import statistics
import tempfile
import threading
import time
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from benchmarks.generator import Answer, Generator, for_seconds
from benchmarks.served import make_versions, served
from benchmarks.serving.machine import machine
from benchmarks.serving.processes import cpu_s, descendants

RESULTS = Path(__file__).parent / "results" / "tracing.jsonl"
MODEL = "halves"
BODY = b'{"instances": [1.0, 2.0, 3.0]}'
OFF = "off"
SHARES = {OFF: None, "1 %": "0.01", "all": "1"}
CONNECTIONS = (1, 32)
SETTLE_S = 3.0
"""For what is queued to be sent: it belongs to the turn before."""


@dataclass(frozen=True)
class Way:
    """A gateway and its model server."""

    port: int
    pids: frozenset[int]

    def cpu_s(self) -> float:
        return sum(seconds for pid, seconds in cpu_s(os.getpid()).items() if pid in self.pids)


class Discard(BaseHTTPRequestHandler):
    """An OTLP receiver that takes everything."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:  # the library's name
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def receiver() -> Iterator[str]:
    """Its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Discard)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@contextmanager
def serve(home: Path, models: Path, url: str, share: str | None) -> Iterator[Way]:
    """One way, until the end of the block."""
    settings = {} if share is None else {"MODELYARD_OTLP_ENDPOINT": url, "MODELYARD_TRACE_SHARE": share}
    home.mkdir()
    before = descendants(os.getpid())
    os.environ.update(settings)
    with served(home, MODEL, f"--models-dir={models}", "--isolated") as port:
        for name in settings:
            del os.environ[name]
        yield Way(port, frozenset(descendants(os.getpid()) - before))


def load(port: int, connections: int, seconds: float) -> int:
    """Sends as many requests as are answered in this time; returns their number."""
    head = f"POST /v1/models/{MODEL}:predict HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    request = head.encode() + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
    answered = 0

    def judge(answer: Answer) -> None:
        nonlocal answered
        if answer.status != 200 or b"1.5" not in answer.body:
            raise SystemExit(f"a wrong answer: {answer.status} {answer.body[:200]!r}")
        answered += 1

    generator = Generator(port, connections, lambda: (None, request), judge)
    generator.run(for_seconds(seconds))
    if generator.failures:
        raise SystemExit(f"requests without an answer: {generator.failures[:3]}")
    return answered


def measure(way: Way, connections: int, seconds: float) -> tuple[float, float]:
    """Milliseconds of processor time for each request, and requests per second."""
    before = way.cpu_s()
    count = load(way.port, connections, seconds)
    time.sleep(SETTLE_S)
    return (way.cpu_s() - before) / count * 1000, count / seconds


def main(arguments: Sequence[str] | None = None) -> None:
    parser = ArgumentParser("python -m benchmarks.tracing", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each turn")
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args(arguments)
    found: dict[str, Any] = {"machine": machine(), "options": vars(options), "cpu_ms": {}, "per_s": {}}
    with tempfile.TemporaryDirectory(prefix="mt-", ignore_cleanup_errors=True) as name, ExitStack() as stack:
        home = Path(name)
        make_versions(home / "models" / MODEL, 1)
        url = stack.enter_context(receiver())
        ways = {
            label: stack.enter_context(serve(home / str(number), home / "models", url, share))
            for number, (label, share) in enumerate(SHARES.items())
        }
        for connections in CONNECTIONS:
            turns: dict[str, list[tuple[float, float]]] = {label: [] for label in ways}
            for turn in range(options.turns + 1):
                for label, way in ways.items():
                    measured = measure(way, connections, options.seconds)
                    if turn:  # the first one warms up
                        turns[label].append(measured)
            for place, what in ((0, "cpu_ms"), (1, "per_s")):
                medians = {label: statistics.median(each[place] for each in taken) for label, taken in turns.items()}
                found[what][connections] = {label: round(value, 3) for label, value in medians.items()}
            ratios = {label: statistics.median(pair(turns, label)) for label in ways if label != OFF}
            found.setdefault("cpu_against_off", {})[connections] = {each: round(r, 3) for each, r in ratios.items()}
    with RESULTS.open("a") as results:
        results.write(json.dumps(found) + "\n")
    print(json.dumps({each: value for each, value in found.items() if each != "machine"}, indent=1))


def pair(turns: dict[str, list[tuple[float, float]]], label: str) -> list[float]:
    """Processor time against that without tracing, turn by turn."""
    return [traced[0] / plain[0] for traced, plain in zip(turns[label], turns[OFF], strict=True)]


if __name__ == "__main__":
    main()
