"""Errors of a job, beside those of the models and the store."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelyard.models.errors import ModelyardError, StorageFailed

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


class StageFailed(ModelyardError):
    """A stage's own process ended with an error; the text has the last line that it wrote."""


class ExportRejected(ModelyardError):
    """The exported graph has operations that a plain CPU server cannot run, or differs from the trained model."""


class DevicesMissing(ModelyardError):
    """The process sees fewer devices than the recipe needs."""


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
        name = f"{Path(os.fsdecode(error.filename)).name}: " if error.filename else ""
        raise StorageFailed(f"storage: {name}{os.strerror(error.errno)}") from error


def find_storage_error(text: str) -> str | None:
    """The operating system's message of a disk error in a process's output; None if there is none.

    TensorFlow ends its own messages with it (openxla/xla, xla/tsl/platform/errors.h, ``IOError``).
    """
    return next((message for message in map(os.strerror, STORAGE_ERRNOS) if message in text), None)
