"""Version folders on disk, whether their files have changed, and whether somebody still writes them."""

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from modelyard.models.registry import manifest
from modelyard.services.modelserver.lifecycle.config import ModelEntry

INT64_MAX = 2**63 - 1

FileStamp = tuple[str, int, int, int]
"""Path, size in bytes, times of the last change of its content and of anything else about it, in ns.

A copy can keep the first time (``rsync -t``, ``cp -p``), but not the second.
"""
OLD_NS = 2_000_000_000
"""Files that nobody has touched for as long are whole, as far as one look can tell."""


@dataclass(frozen=True)
class Candidate:
    """A folder to load a version from, and the stamps of its files; changed files are worth another try."""

    path: Path
    files: tuple[FileStamp, ...]
    settled: bool = True
    """False while the folder is being filled, as by a slow copy: it is not loaded before."""
    since: float = field(default=0.0, compare=False)
    """When the files were first seen like this, ``time.monotonic()``."""


Candidates = Mapping[int, Candidate]
"""The wanted versions of a model."""


def find_candidates(entry: ModelEntry, previous: Candidates, quiet_s: float) -> Candidates:
    """The wanted versions of a model, each with its folder, which may be missing.

    Args:
        previous: those of the last look.
        quiet_s: seconds for which a folder must not change before it is loaded; 0 where there is no further look.
    """
    folders = list_version_folders(entry.base_path)
    found = {version: folders.get(version, entry.base_path / str(version)) for version in entry.policy(folders)}
    return {version: look_at(path, previous.get(version), quiet_s) for version, path in found.items()}


def look_at(path: Path, previous: Candidate | None, quiet_s: float) -> Candidate:
    """A folder's files, and whether they are settled: unchanged for ``quiet_s``, or whole as far as one look can tell.

    A folder with a manifest says itself what is missing, so it is tried at once, but not over and over while it grows.
    """
    files, now = stamp_files(path), time.monotonic()
    if previous is None:
        settled = not quiet_s or (path / manifest.FILE).exists() or is_old(path, files)
        return Candidate(path, files, settled, now)
    if previous.files != files:
        return Candidate(path, files, not quiet_s, now)
    settled = previous.settled or now - previous.since >= quiet_s
    return Candidate(path, files, settled, previous.since)


def is_old(path: Path, files: Iterable[FileStamp]) -> bool:
    """Whether nothing has changed for a while, by the clock; a missing folder never does, and an empty one may soon."""
    newest = max((max(changed, touched) for _, _, changed, touched in files), default=None)
    return not path.is_dir() if newest is None else time.time_ns() - newest >= OLD_NS


def list_version_folders(base_path: Path) -> Mapping[int, Path]:
    """Folders whose names are int64 numbers (leading zeros allowed), by number; empty if there is no such base path."""
    try:
        paths = sorted(path for path in base_path.iterdir() if _is_number(path.name) and path.is_dir())
    except OSError:
        return {}
    return {int(path.name): path for path in paths}


def stamp_files(folder: Path) -> tuple[FileStamp, ...]:
    """Stamps of every file below a folder; empty for a missing folder. Files that vanish meanwhile are left out.

    Links to files are followed, and so are links to folders, but for links inside those.
    """
    return tuple(sorted(found for parent, names in _walk(folder) for found in _stamps(Path(parent), names)))


def _walk(folder: Path) -> Iterator[tuple[str, list[str]]]:
    for parent, folders, names in os.walk(folder):
        yield parent, names
        for name in folders:
            if (linked := Path(parent, name)).is_symlink():
                yield from ((inner, files) for inner, _, files in os.walk(linked))


def _stamps(parent: Path, names: Iterable[str]) -> Iterator[FileStamp]:
    for name in names:
        with suppress(OSError):
            status = (parent / name).stat()
            yield str(parent / name), status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdecimal() and int(name) <= INT64_MAX
