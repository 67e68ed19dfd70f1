"""A tree of processes as Linux shows it: processor time, memory (PSS), start and end. Linux only, no dependency."""

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")
PR_SET_CHILD_SUBREAPER = 36
STOP_S = 20.0


@dataclass(frozen=True)
class Command:
    """One process of a server."""

    arguments: Sequence[str]
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Memory:
    """Proportional set size of one process: shared pages count by the share."""

    pid: int
    command: str
    pss_mb: float


def adopt_orphans() -> None:
    """Descendants whose parent ends become our children: whoever daemonises stays in the tree (prctl(2))."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def descendants(root: int) -> set[int]:
    """Living processes below ``root``, without itself and without the calling process."""
    children: dict[int, list[int]] = {}
    for pid, fields in _stats():
        if fields[0] != "Z":
            children.setdefault(int(fields[1]), []).append(pid)
    found: set[int] = set()
    waiting = [root]
    while waiting:
        below = [pid for pid in children.get(waiting.pop(), ()) if pid != os.getpid()]
        found.update(below)
        waiting += below
    return found


def cpu_s(root: int | None) -> dict[int, float]:
    """User and system seconds so far of every process below ``root``, with those of its ended children."""
    if root is None:
        return {}
    tree = descendants(root)
    return {pid: sum(map(int, fields[11:15])) / TICKS for pid, fields in _stats() if pid in tree}


def memory(root: int) -> list[Memory]:
    """PSS of every process below ``root``."""
    found = []
    for pid in sorted(descendants(root)):
        with suppress(OSError):
            lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
            kilobytes = next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
            found.append(Memory(pid, command_line(pid), kilobytes / 1000 * 1.024))
    return found


def command_line(pid: int) -> str:
    return (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()


@contextmanager
def running(commands: Sequence[Command], log: Path) -> Iterator[None]:
    """Runs a server; afterwards nothing that it started is left."""
    log.parent.mkdir(parents=True, exist_ok=True)
    started: list[subprocess.Popen[bytes]] = []
    try:
        with log.open("wb") as output:
            started.extend(_start(command, output.fileno()) for command in commands)
        yield
    finally:
        stop(started)


def _start(command: Command, output: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command.arguments,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env=os.environ | dict(command.environment),
        start_new_session=True,
    )


def stop(started: Sequence[subprocess.Popen[bytes]]) -> None:
    """SIGTERM to those started, last one first; SIGKILL to every descendant that remains."""
    for process in reversed(started):
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
    deadline = time.monotonic() + STOP_S
    while (left := descendants(os.getpid())) and time.monotonic() < deadline:
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _reap()
        time.sleep(0.05)
    _reap()


def _reap() -> None:
    """Orphans that became ours."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _stats() -> Iterator[tuple[int, list[str]]]:
    """Process ids with the fields of /proc/PID/stat from the third, the state, on; see proc_pid_stat(5)."""
    for entry in PROC.iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                yield int(entry.name), (entry / "stat").read_text().rpartition(")")[2].split()
