"""Version folders on disk, and whether their files have changed."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from modelyard.services.modelserver.lifecycle.config import ModelEntry

INT64_MAX = 2**63 - 1

FileStamp = tuple[str, int, int]
"""Path, size in bytes, time of last change in ns."""


@dataclass(frozen=True)
class Candidate:
    """A folder to load a version from, and the stamps of its files; changed files are worth another try."""

    path: Path
    files: tuple[FileStamp, ...]


def find_candidates(entry: ModelEntry) -> Mapping[int, Candidate]:
    """The wanted versions of a model, each with its folder, which may be missing."""
    folders = list_version_folders(entry.base_path)
    found = {version: folders.get(version, entry.base_path / str(version)) for version in entry.policy(folders)}
    return {version: Candidate(path, stamp_files(path)) for version, path in found.items()}


def list_version_folders(base_path: Path) -> Mapping[int, Path]:
    """Folders whose names are int64 numbers (leading zeros allowed), by number; empty if there is no such base path."""
    try:
        paths = sorted(path for path in base_path.iterdir() if _is_number(path.name) and path.is_dir())
    except OSError:
        return {}
    return {int(path.name): path for path in paths}


def stamp_files(folder: Path) -> tuple[FileStamp, ...]:
    """Stamps of every file below a folder; empty for a missing folder. Files that vanish meanwhile are left out."""
    return tuple(sorted(found for parent, _, names in os.walk(folder) for found in _stamps(Path(parent), names)))


def _stamps(parent: Path, names: Iterable[str]) -> Iterator[FileStamp]:
    for name in names:
        with suppress(OSError):
            status = (parent / name).stat()
            yield str(parent / name), status.st_size, status.st_mtime_ns


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdecimal() and int(name) <= INT64_MAX
