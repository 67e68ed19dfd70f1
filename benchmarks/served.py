"""``modelyard serve`` for benchmarks, and a version-revealing model to serve."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelyard.client import Client
from modelyard.services.cli.gateway import responds_ok

START_S = 120.0
STOP_S = 30.0


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on at this moment."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def make_versions(folder: Path, count: int) -> None:
    """Saved versions 1 to ``count`` of x/2 + N."""
    command = [sys.executable, "-m", "benchmarks.version_memory.models", str(folder), str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the versions could not be made: {done.stderr[-500:]}")


@contextmanager
def served(home: Path, model: str, *arguments: str) -> Iterator[int]:
    """Port of a gateway that answers for ``model``, until the end of the block."""
    port, serving_port = free_ports(2)
    ports = [f"--port={port}", f"--serving-port={serving_port}", f"--home={home}"]
    with (home / "out").open("wb") as out:
        command = [sys.executable, "-m", "modelyard", "serve", *ports, *arguments]
        process = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
    try:
        give_up = time.monotonic() + START_S
        while not responds_ok(Client(f"http://127.0.0.1:{port}"), f"/v1/models/{model}/metadata"):
            if process.poll() is not None or time.monotonic() > give_up:
                raise SystemExit((home / "out").read_text()[-500:])
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(STOP_S)
