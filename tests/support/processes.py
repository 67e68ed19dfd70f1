"""One process of ours, as tests start it and end it, and what it printed."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.support.waiting import LONG_TIMEOUTS

START_S = 180.0
STOP_S = 120.0
WAIT_S = 90.0
"""For what takes a second or two on a machine with nothing else to do."""


@dataclass
class Running:
    """One process of ours, and what it printed."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def printed(self) -> str:
        return self.log.read_text(errors="replace")

    def child(self, words: str) -> psutil.Process | None:
        """A living descendant by words of its command line."""
        return self._descendant(lambda process: words in " ".join(process.cmdline()))

    def child_named(self, name: str) -> psutil.Process | None:
        """A living descendant by its name in lists of processes: forks have their parent's command line."""
        return self._descendant(lambda process: process.name() == name)

    def _descendant(self, wanted: Callable[[psutil.Process], bool]) -> psutil.Process | None:
        for process in psutil.Process(self.process.pid).children(recursive=True):
            try:
                if wanted(process) and process.status() != psutil.STATUS_ZOMBIE:
                    return process
            except psutil.Error:
                continue
        return None

    def stop(self) -> int:
        """SIGCONT for those that stand still, SIGTERM, and the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        return self.process.wait(STOP_S)


@contextmanager
def running(log: Path, *arguments: str, **variables: str) -> Iterator[Running]:
    """``python -m ...`` until the end of the block."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=LONG_TIMEOUTS | os.environ | {"COLUMNS": "200", **variables},
        )
    found = Running(process, log)
    try:
        yield found
    finally:
        found.stop()
