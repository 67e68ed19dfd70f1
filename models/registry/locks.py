"""Locks between processes, on files; they end with the process that holds them."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelyard.models.errors import StorageFailed
from modelyard.models.registry.storage_errors import make_storage_error

LOCK_TIMEOUT_S = 30.0
"""A lock is held for milliseconds: whoever holds one for longer stands still, and must not stop all others."""
LOCK_POLL_S = 0.01


@contextmanager
def hold_lock(path: Path, timeout_s: float = LOCK_TIMEOUT_S) -> Iterator[None]:
    """Held by one process at a time.

    Raises:
        StorageFailed: the file cannot be opened, or another process holds it, and stands still.
    """
    deadline = time.monotonic() + timeout_s
    try:
        file = path.open("a")
    except OSError as error:
        raise make_storage_error(error) from error
    with file:
        while not try_lock(file.fileno()):
            if time.monotonic() > deadline:
                raise StorageFailed(f"storage: {path.name} is held by a process that stands still")
            time.sleep(LOCK_POLL_S)
        yield


def try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
