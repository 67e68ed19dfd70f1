"""Starts, restarts and stops local processes, each in a group of its own."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from modelyard.models.errors import ModelyardError

POLL_INTERVAL_S = 0.1
STOP_TIMEOUT_S = 25.0
RESTART_DELAYS_S = (0.2, 1.0, 2.0, 5.0)
"""Seconds before the first, second, ... restart in a row; the last one repeats."""
_PRCTL = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 15); os.execvp(sys.argv[1], sys.argv[1:])"
DIE_WITH_PARENT = (sys.executable, "-I", "-S", "-c", _PRCTL) if sys.platform == "linux" else ()
"""Runs a program so that it gets SIGTERM if the supervisor is killed outright: PR_SET_PDEATHSIG, prctl(2)."""
HEALTHY_AFTER_S = 30.0
"""Seconds after which a process counts as healthy: its next restart gets the first delay."""
SAFE_PATH = {"PYTHONSAFEPATH": "1"}
"""Python imports nothing from the folder that it was started in: a user's ``redis.py`` would hide the package."""


class ServiceDied(ModelyardError):
    """A process ended before it was ready; the text has the last line of its log."""


@dataclass(frozen=True)
class Service:
    """One process to run."""

    name: str
    command: Sequence[str]
    ready: Callable[[], bool]
    """Polled until it returns True."""
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass
class _Running:
    service: Service
    process: subprocess.Popen[bytes]
    started: float
    restarts: int = 0
    restart_at: float | None = None


class Supervisor:
    """Starts services, restarts those that die, and stops all of them in reverse order.

    One thread watches all of them; ``start`` and ``stop`` may be called from another one.
    """

    def __init__(self, logs: Path, on_event: Callable[[str], None]) -> None:
        self._logs, self._report = logs, on_event
        self._running: list[_Running] = []
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def start(self, service: Service) -> None:
        """Starts a process; its output goes to ``<logs>/<name>.log``."""
        self._logs.mkdir(parents=True, exist_ok=True)
        with self._lock:
            self._running.append(_Running(service, self._launch(service), time.monotonic()))
            if not self._watcher.is_alive():
                self._watcher.start()

    def wait_ready(self, service: Service, deadline_s: float) -> None:
        """Returns when the service answers.

        Raises:
            ServiceDied: it ended, or did not answer in time; with the end of its log.
        """
        deadline = time.monotonic() + deadline_s
        while not service.ready():
            if self._restarts(service) or time.monotonic() > deadline:
                how = "ended" if self._restarts(service) else f"did not answer within {deadline_s:.0f} s"
                raise ServiceDied(f"{service.name} {how}: {self.read_last_line(service.name)}")
            time.sleep(POLL_INTERVAL_S)

    def stop(self) -> None:
        """Ends every process, last started first; each gets SIGTERM and time to finish, then SIGKILL."""
        self._stopping.set()
        with self._lock:
            for running in reversed(self._running):
                end_process_group(running.process, STOP_TIMEOUT_S)
            self._running.clear()

    def read_last_line(self, name: str) -> str:
        """The last line of a service's log."""
        try:
            lines = (self._logs / f"{name}.log").read_text(errors="replace").strip().splitlines()
        except OSError:
            return "no log"
        return lines[-1] if lines else "no output"

    def pids(self) -> dict[str, int]:
        with self._lock:
            return {running.service.name: running.process.pid for running in self._running}

    def _launch(self, service: Service) -> subprocess.Popen[bytes]:
        with (self._logs / f"{service.name}.log").open("ab") as log:
            return subprocess.Popen(
                [*DIE_WITH_PARENT, *service.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **SAFE_PATH, **service.environment},
                start_new_session=True,  # Ctrl-C must reach the supervisor only, which stops them in order
            )

    def _restarts(self, service: Service) -> int:
        with self._lock:
            return sum(running.restarts for running in self._running if running.service is service)

    def _watch(self) -> None:
        while not self._stopping.wait(POLL_INTERVAL_S):
            with self._lock:
                for running in self._running:
                    self._restart_if_dead(running)

    def _restart_if_dead(self, running: _Running) -> None:
        now = time.monotonic()
        if running.process.poll() is None:
            return
        if running.restart_at is None:
            if now - running.started > HEALTHY_AFTER_S:
                running.restarts = 0
            wait_s = RESTART_DELAYS_S[min(running.restarts, len(RESTART_DELAYS_S) - 1)]
            running.restart_at = now + wait_s
            running.restarts += 1
            self._report(f"{running.service.name} ended with status {running.process.returncode}; restarting it")
            end_process_group(running.process, 0)  # its children would hold its port
        elif now >= running.restart_at:
            running.process, running.started, running.restart_at = self._launch(running.service), now, None


def end_process_group(process: subprocess.Popen[bytes], timeout_s: float) -> None:
    """Sends SIGTERM to the leader, which ends its children; after ``timeout_s``, SIGKILL to the whole group."""
    if process.poll() is None and timeout_s:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout_s)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
