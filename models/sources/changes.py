"""Notices changed files by their time and size, without reading them."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from modelyard.models.sources.files import is_model

Stamp = tuple[int, int, int]
"""Time of the last change in ns, size in bytes, and inode of a file."""


def take_stamps(folders: Iterable[Path], files: Iterable[str]) -> dict[str, Stamp]:
    """Stamps by path: of the Python files in folders and the packages below them, and of more files.

    A file that is not there has none.
    """
    paths = {*map(str, (path for folder in folders for path in list_sources(folder))), *files}
    return {path: stamp for path in paths if (stamp := take_stamp(path))}


def take_stamp(path: str) -> Stamp | None:
    try:
        found = os.stat(path)  # noqa: PTH116  # thousands of times an hour
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def list_sources(folder: Path) -> Iterator[Path]:
    """The Python files of a folder and of its sub-packages, which have an ``__init__.py``: data may lie there, too."""
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return
    for entry in entries:
        if entry.suffix == ".py":
            yield entry
        elif os.path.isfile(entry / "__init__.py"):  # noqa: PTH113  # False where pathlib raises
            yield from list_sources(entry)


def list_helpers(folder: Path) -> Iterator[Path]:
    """The Python files that a model's file in this folder may import from beside it."""
    return (path for path in list_sources(folder) if path.parent != folder or not is_model(path))
