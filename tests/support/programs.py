"""Commands and services as forks of one process that has imported them, and Keras: each starts for next to nothing.

What only the start of a new interpreter can show is shown with one: ``tests.support.processes.running``.
"""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from modelyard.pipeline.processes.forkserver import ForkedProcess, ForkServer
from tests.support.processes import Running
from tests.support.rehearsals import share_rehearsals
from tests.support.repository import ROOT
from tests.support.waiting import LONG_TIMEOUTS

MODULE = "tests.support.forked_programs"
POLL_S = 0.001


@dataclass
class ForkedProgram:
    """A fork with as much of ``subprocess.Popen`` as ``Running`` and its users need."""

    fork: ForkedProcess

    @property
    def pid(self) -> int:
        pid = self.fork.pid
        assert pid, "the fork server has ended"
        return pid

    def poll(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            return self.wait(POLL_S)
        return None

    def wait(self, timeout: float | None = None) -> int:
        return self.fork.wait(timeout)

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it has ended since
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def train(forks: ForkServer, model: str, folder: Path, *overrides: str) -> None:
    """One version of a model in ``folder/store``; overrides are ``key=value``."""
    share_rehearsals(folder / "work")
    with forks.start(MODULE, "training", model, str(folder), *overrides) as fork:
        printed = fork.stderr.read().decode()
    assert fork.returncode == 0, printed


@contextmanager
def running_fork(forks: ForkServer, log: Path, program: str, *arguments: str, **variables: str) -> Iterator[Running]:
    """A ``gateway``, ``modelserver``, ``scheduler`` or ``worker`` until the end of the block."""
    environment = json.dumps(LONG_TIMEOUTS | os.environ | {"COLUMNS": "200", **variables})
    with forks.start(MODULE, program, environment, str(log), *arguments) as fork:
        log.touch()
        found = Running(ForkedProgram(fork), log)
        try:
            yield found
        finally:
            found.stop()


def run_command(
    forks: ForkServer,
    *arguments: str,
    given: bytes = b"",
    timeout_s: float | None = None,
    folder: Path = ROOT,
    **variables: str,
) -> subprocess.CompletedProcess[bytes]:
    """``modelyard ...``: as ``subprocess.run`` would have it."""
    environment = json.dumps(os.environ | variables)
    with (
        forks.start(MODULE, "command", environment, str(folder), *arguments) as fork,
        ThreadPoolExecutor(2) as pool,
    ):
        printed = [pool.submit(stream.read) for stream in (fork.stdout, fork.stderr)]
        try:
            with fork.stdin as stream:
                stream.write(given)
            status = fork.wait(timeout_s)
        finally:
            fork.kill()
    stdout, stderr = (reading.result() for reading in printed)
    return subprocess.CompletedProcess(arguments, status, stdout, stderr)
