"""How our own side is started: ``modelyard serve`` over a store, as a user would. The one place that knows."""

import sys
from pathlib import Path

from benchmarks.serving.processes import Command, Memory

GATEWAY = "modelyard.services.gateway"


def commands(port: int, store: Path, work: Path) -> list[Command]:
    """One command that starts and watches two processes, which speak gRPC with each other."""
    return [serve(port, store, work, "--isolated", f"--serving-port={port + 1}")]


def commands_one_process(port: int, store: Path, work: Path) -> list[Command]:
    """One command that starts and watches one process, in which gateway and model server are."""
    return [serve(port, store, work, "--one-process")]


def serve(port: int, store: Path, work: Path, *options: str) -> Command:
    modelyard = str(Path(sys.executable).parent / "modelyard")
    return Command([modelyard, "serve", f"--models-dir={store}", f"--port={port}", f"--home={work}", *options], {})


def is_gateway(process: Memory) -> bool:
    """Whether a process is part of the gateway, the rest being what watches, and an isolated model server."""
    return GATEWAY in process.command
