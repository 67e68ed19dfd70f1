"""A file system of its own, small enough to be filled: only who may mount one can make it."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SIZE_MB = 512
FILL = ".filled"
CHUNK = 1 << 20


@contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """Makes the folder, and mounts a file system on it until the end of the block; False if that is not allowed."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "modelyard-disk", str(folder)]
    mounted = not subprocess.run(command, check=False, capture_output=True).returncode
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def filled(folder: Path) -> Iterator[None]:
    """Leaves not a byte free in the block."""
    file = os.open(folder / FILL, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    try:
        for size in (CHUNK, 4096, 1):
            with suppress(OSError):
                while True:
                    os.write(file, bytes(size))
        yield
    finally:
        os.close(file)
        (folder / FILL).unlink()
