"""Environments for clients that cannot live in the project's own: made once, from pinned requirements."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.repository import ROOT

CLIENTS = ROOT / "tests" / "system" / "clients"
PLACES = ROOT / ".venv-clients"
MARK = ".installed"
INSTALL_S = 240
RUN_S = 120
NO_REGISTRY = (
    "Failed to fetch",
    "error sending request",
    "dns error",
    "Could not connect",
    "npm error code EAI_AGAIN",
    "npm error code ENOTFOUND",
    "npm error code ECONNREFUSED",
)
"""What uv and npm say when they cannot reach the registry."""


def interpreter(client: str) -> Path:
    """Python of a client's environment; skips the test where the registry cannot be reached."""
    requirements, place = CLIENTS / f"{client}.txt", PLACES / client
    python, mark = place / "bin" / "python", place / MARK
    if not mark.exists() or mark.read_bytes() != requirements.read_bytes():
        install(uv(), "venv", "--quiet", "--allow-existing", "--python", sys.executable, str(place))
        install(uv(), "pip", "sync", "--quiet", "--python", str(python), str(requirements))
        mark.write_bytes(requirements.read_bytes())
    return python


def uv() -> str:
    return shutil.which("uv") or str(ROOT / ".uv" / "bin" / "uv")


def install(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S, check=False)
    check(done)


def run(python: Path, client: str, *arguments: str) -> Any:
    """What a client's script printed; its own directory is not searched for modules, which it may be named like."""
    command = [str(python), "-P", str(CLIENTS / f"{client}.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_S, check=False)
    check(done)
    return json.loads(done.stdout)


def check(done: subprocess.CompletedProcess[str]) -> None:
    """Skips the test where the registry cannot be reached; any other failure is one."""
    if any(words in done.stderr for words in NO_REGISTRY):
        pytest.skip(f"the package registry cannot be reached: {done.stderr.splitlines()[0][:200]}")
    assert done.returncode == 0, done.stderr
