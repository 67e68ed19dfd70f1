"""Ends a process that stands still in the middle of a transaction of SQLite: nobody else could ever write again.

A process that gets SIGSTOP keeps its locks. Its lease of a job runs out, and another worker takes over; but SQLite's
write lock knows no lease. PostgreSQL ends such transactions itself (``idle_in_transaction_session_timeout``).
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import structlog

log = structlog.get_logger()

WRITE_LOCK = 120
"""Byte of the ``-shm`` file that a writer locks (sqlite.org/walformat.html, "WAL-Index Locks")."""
LOCKS = Path("/proc/locks")
MAX_HOLD_S = 5.0
"""For which a stopped process may hold the lock."""


class StoppedWriterWatch:
    """Finds a process that holds the write lock of a file and has been stopped, and kills it. Linux only.

    SQLite then drops what it had not committed. Other files, and systems without ``/proc``: nothing happens.
    """

    def __init__(self, database: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._shared = database.with_name(f"{database.name}-shm")
        self._clock = clock
        self._seen: tuple[int, float] | None = None

    def check(self) -> int | None:
        """To be called every few seconds; returns the process that it killed, if any."""
        holder = find_holder(self._shared)
        if holder is None or not is_stopped(holder):
            self._seen = None
        elif self._seen is None or self._seen[0] != holder:
            self._seen = holder, self._clock()
        elif self._clock() - self._seen[1] >= MAX_HOLD_S:
            return _kill(holder)
        return None


def find_holder(shared: Path) -> int | None:
    """The process that holds the write lock, by ``/proc/locks``.

    Asking with ``fcntl`` would need a descriptor of the file, and closing that would release this process's own locks.
    """
    with suppress(OSError):
        inode = shared.stat().st_ino
        return next((process for process, *locked in list_locks() if locked == [inode, WRITE_LOCK]), None)
    return None


def list_locks() -> Iterator[tuple[int, int, int]]:
    """Process, inode and first byte of every exclusive lock of a file; those of which a process waits are left out.

    A line is ``1: POSIX  ADVISORY  WRITE 4711 fe:00:1234 120 120`` (proc_locks(5)).
    """
    for line in LOCKS.read_text().splitlines():
        _, kind, *rest = line.split()
        if kind == "POSIX" and rest[1] == "WRITE" and rest[4].isdecimal():
            yield int(rest[2]), int(rest[3].rpartition(":")[2]), int(rest[4])


def is_stopped(process: int) -> bool:
    """Whether it got SIGSTOP or the like; one that a debugger holds is not."""
    with suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    return False


def _kill(process: int) -> int | None:
    try:
        os.kill(process, signal.SIGKILL)
    except OSError as error:
        log.warning("stopped process holds the ledger's write lock", pid=process, cause=error.strerror)
        return None
    log.warning("process killed: it stood still and held the ledger's write lock", pid=process)
    return process
