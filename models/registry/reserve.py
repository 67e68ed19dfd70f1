"""Disk space that is set aside, so that a rollout can be changed when the disk is full."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

RESERVE_BYTES = 1024 * 1024
"""Some times what one change writes: a rollout with its latest changes, ``models.config``, and lines of a history."""
MIN_RESERVE_BYTES = 4096


@contextmanager
def release_reserve(path: Path) -> Iterator[None]:
    """Frees the space while the block writes, and sets aside as much as there is afterwards.

    It is always freed, not only on a full disk: a quota that is used up shows in no figure that one could ask for.
    The caller holds a lock.
    """
    with suppress(OSError):  # what the block needs may be there all the same
        os.truncate(path, 0)
    try:
        yield
    finally:
        fill_reserve(path)


def fill_reserve(path: Path) -> None:
    """Sets space aside; on a disk that is nearly full, a part of it."""
    with suppress(OSError), path.open("ab") as file:
        size = RESERVE_BYTES
        while size >= MIN_RESERVE_BYTES and not _allocate(file.fileno(), size):
            size //= 2


def _allocate(descriptor: int, size: int) -> bool:
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError:
        return False
    return True
