"""Operating system errors of a disk: which they are, and what is said of them."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelyard.models.errors import StorageFailed

STORAGE_ERRNOS = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EIO,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENOTDIR,
)
"""Error numbers of a disk that is full, broken, read-only, not ours, or gone."""


@contextmanager
def translate_storage_errors() -> Iterator[None]:
    """Turns operating system errors of a disk into ``StorageFailed``; all other errors pass.

    Raises:
        StorageFailed: a file could not be written or read.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in STORAGE_ERRNOS:
            raise
        raise make_storage_error(error) from error


def make_storage_error(error: OSError, path: Path | None = None) -> StorageFailed:
    """Names the file, and not its folder; nor what a library has written into the error, such as HDF5 its path.

    Args:
        path: the file, where the error names another one or none.
    """
    file = path or (Path(os.fsdecode(error.filename)) if error.filename else None)
    name = f"{file.name}: " if file else ""
    cause = os.strerror(error.errno) if error.errno else type(error).__name__
    return StorageFailed(f"storage: {name}{cause}")


def find_storage_error(text: str) -> str | None:
    """The operating system's message of a disk error in a process's output; None if there is none.

    TensorFlow ends its own messages with it (openxla/xla, xla/tsl/platform/errors.h, ``IOError``).
    """
    return next((message for message in map(os.strerror, STORAGE_ERRNOS) if message in text), None)
