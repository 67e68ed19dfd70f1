"""What can go wrong in a job, beyond what the model files and the store say."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelyard.models.errors import ModelyardError, StorageFailed

STORAGE_FAULTS = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EIO,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENOTDIR,
)
"""What the operating system says of a disk that is full, broken, read-only or another's, or is not there any more."""


class StageFailed(ModelyardError):
    """A stage's own process ended with an error; the text is its last words."""


class ExportRejected(ModelyardError):
    """The exported graph holds operations that a plain CPU server cannot run, or does not equal the trained model."""


class DevicesMissing(ModelyardError):
    """The process sees fewer devices than the recipe asks for."""


@contextmanager
def storage_errors() -> Iterator[None]:
    """Gives what the operating system says of a disk its name; all other errors pass.

    Raises:
        StorageFailed: a file could not be written or read.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in STORAGE_FAULTS:
            raise
        name = f"{Path(os.fsdecode(error.filename)).name}: " if error.filename else ""
        raise StorageFailed(f"storage: {name}{os.strerror(error.errno)}") from error


def storage_fault_in(text: str) -> str | None:
    """The operating system's words for a fault of a disk, in what a process said last.

    TensorFlow ends its own messages with them (openxla/xla, xla/tsl/platform/errors.h, ``IOError``).
    """
    return next((said for said in map(os.strerror, STORAGE_FAULTS) if said in text), None)
