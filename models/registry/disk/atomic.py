"""Flushing to disk, and a rename that refuses to replace."""

import ctypes
import errno
import os
import sys
from pathlib import Path

from modelyard.models.registry.storage_errors import make_storage_error


def flush(path: Path) -> None:
    """Fsync of one file or folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_tree(folder: Path) -> None:
    """Fsync of a folder and everything below it."""
    for path in folder.rglob("*"):
        flush(path)
    flush(folder)


def rename_no_replace(source: Path, target: Path) -> bool:
    """Renames a folder unless the target exists; False if it does.

    A plain rename silently replaces an empty target folder, so two publishers could share a number.
    Linux: renameat2(2) with RENAME_NOREPLACE; macOS: renamex_np(2) with RENAME_EXCL.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    old, new = os.fsencode(source), os.fsencode(target)
    if sys.platform == "darwin":
        failed = libc.renamex_np(old, new, ctypes.c_uint(4))
    else:
        at_cwd = -100
        failed = libc.renameat2(at_cwd, old, at_cwd, new, ctypes.c_uint(1))
    if not failed:
        return True
    code = ctypes.get_errno()
    if code in (errno.EEXIST, errno.ENOTEMPTY):
        return False
    raise make_storage_error(OSError(code, os.strerror(code)), target)
