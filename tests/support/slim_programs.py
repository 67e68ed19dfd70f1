"""Gateways and commands as forks of one process that has imported them: each starts for next to nothing.

What only the start of a new interpreter can show is shown with one: ``forked=False``.
"""

import fcntl
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO

import httpx

from modelyard.pipeline.processes.forkserver import ForkedProcess, ForkServer
from tests.support.http import WITHOUT_TLS
from tests.support.ports import held_port
from tests.support.programs import ForkedProgram
from tests.support.repository import ROOT

MODULE = "tests.support.forked_slim"
COMMAND = [sys.executable, "-m", "modelyard.services.gateway"]
LOG_BYTES = 1024 * 1024
"""What a gateway may write that nobody reads: one that waits for a reader does not answer."""


class ForkedGateway(ForkedProgram):
    """With its log."""

    def __init__(self, fork: ForkedProcess) -> None:
        super().__init__(fork)
        fcntl.fcntl(fork.stderr, fcntl.F_SETPIPE_SZ, LOG_BYTES)
        self.stderr: IO[str] | None = io.TextIOWrapper(fork.stderr, encoding="utf-8")


GatewayProcess = ForkedGateway | subprocess.Popen[str]


@cache
def open_forks() -> ForkServer:
    """What all are forked from; ``end_forks`` ends it."""
    return ForkServer(preloaded=())


def end_forks() -> None:
    if open_forks.cache_info().currsize:
        with open_forks():
            open_forks.cache_clear()


def start(program: str, settings: dict[str, object], *arguments: str, folder: Path = ROOT) -> ForkedProcess:
    environment = json.dumps(os.environ | name_variables(settings))
    return open_forks().start(MODULE, program, environment, str(folder), *arguments)


def name_variables(settings: dict[str, object]) -> dict[str, str]:
    return {f"MODELYARD_{name.upper()}": str(value) for name, value in settings.items()}


# --- gateways ---------------------------------------------------------------------------------------------------------


@contextmanager
def gateway(*, forked: bool = True, **settings: object) -> Iterator[tuple[GatewayProcess, httpx.Client]]:
    """A running gateway that answers, and a client for it. Its log waits in ``stderr`` for whoever wants to read it."""
    with held_port() as port, (run_fork if forked else run_new)({"port": port, **settings}) as process:
        assert process.stderr is not None
        while "listening" not in (line := process.stderr.readline()):
            assert line, "ended before it listened"
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, **WITHOUT_TLS) as client:
            yield process, client


@contextmanager
def run_fork(settings: dict[str, object]) -> Iterator[GatewayProcess]:
    with start("gateway", settings) as fork:
        process = ForkedGateway(fork)
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def run_new(settings: dict[str, object]) -> Iterator[GatewayProcess]:
    environment = os.environ | name_variables(settings)
    process = subprocess.Popen(
        COMMAND, env=environment, cwd=ROOT, stderr=subprocess.PIPE, text=True, pipesize=LOG_BYTES
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def refusal(*, forked: bool = True, **settings: object) -> subprocess.CompletedProcess[str]:
    """What a gateway says that does not start."""
    if forked:
        return await_end(start("gateway", settings))
    environment = os.environ | name_variables(settings)
    return subprocess.run(COMMAND, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


# --- commands ---------------------------------------------------------------------------------------------------------


def modelyard(*arguments: str, folder: Path = ROOT, **settings: object) -> subprocess.CompletedProcess[str]:
    """``modelyard ...``: as ``subprocess.run`` would have it."""
    return await_end(start("command", settings, *arguments, folder=folder))


def await_end(fork: ForkedProcess) -> subprocess.CompletedProcess[str]:
    """Reads what it prints."""
    with fork, ThreadPoolExecutor(1) as pool:
        fork.stdin.close()
        errors = pool.submit(fork.stderr.read)
        printed = fork.stdout.read().decode()
        status = fork.wait()
    return subprocess.CompletedProcess((), status, printed, errors.result().decode())
