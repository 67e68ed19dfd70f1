"""How our own side is started: ``modelyard serve`` over a store, as a user would. The one place that knows."""

import sys
from pathlib import Path

from benchmarks.serving.processes import Command, Memory

GATEWAY = "modelyard.services.gateway"


def commands(port: int, store: Path, work: Path) -> list[Command]:
    """One command that starts and watches two processes; the model server listens on the next port."""
    modelyard = str(Path(sys.executable).parent / "modelyard")
    ports = (f"--port={port}", f"--serving-port={port + 1}")
    return [Command([modelyard, "serve", f"--models-dir={store}", *ports, f"--home={work}"], {})]


def is_gateway(process: Memory) -> bool:
    """Whether a process is part of the gateway, the rest being the model server and what watches both."""
    return GATEWAY in process.command
