"""The folder or file that is imported: found, checked and copied without TensorFlow."""

import hashlib
import os
import shutil
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from modelyard.models.errors import StorageFailed
from modelyard.models.registry.storage_errors import translate_storage_errors
from modelyard.pipeline.errors import ImportRefused
from modelyard.pipeline.progress import Progress, Report

GRAPH = "saved_model.pb"
LEFT_OUT = "assets.extra"
"""Folder of a SavedModel that is not copied: ours stands in its place."""
KERAS = ".keras"
CHUNK = 8 << 20
RESERVE = 64 << 20
"""Bytes that have to stay free beside the copy, for what is written with it."""
REPORT_INTERVAL_S = 0.5


@dataclass(frozen=True)
class Source:
    """What is imported."""

    path: Path
    form: Literal["SavedModel", "Keras"]
    files: Mapping[str, Path]
    """By relative path."""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(path.stat().st_size for path in self.files.values())


@translate_storage_errors()
def find_source(path: Path) -> Source:
    """The SavedModel in a folder, or a Keras file.

    Raises:
        ImportRefused: it is neither, or holds something else than files and folders.
    """
    found = path.resolve()
    if found.is_dir():
        files = dict(list_files(found))
        if GRAPH not in files:
            raise ImportRefused(f"{path}: expected a SavedModel, whose folder has {GRAPH}{hint_at_version(found)}")
        return Source(found, "SavedModel", files)
    if not found.is_file():
        raise ImportRefused(f"{path}: expected the folder of a SavedModel or a {KERAS} file, received nothing there")
    if found.suffix != KERAS:
        raise ImportRefused(f"{path}: expected the folder of a SavedModel or a {KERAS} file, received another file")
    return Source(found, "Keras", {found.name: found})


def hint_at_version(folder: Path) -> str:
    """Says which folders below have a graph: TensorFlow Serving's layout has one for each version."""
    versions = sorted(each.parent.name for each in folder.glob(f"*/{GRAPH}"))
    return f"; it is in {', '.join(versions)}: name one of them" if versions else ", received a folder without it"


def list_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Files by relative path, but for those that are left out.

    Raises:
        ImportRefused: a link, which may lead anywhere, or anything that is neither a file nor a folder.
    """
    for parent, folders, names in os.walk(folder):
        if Path(parent) == folder:
            folders[:] = [name for name in folders if name != LEFT_OUT]
        for name in (*folders, *names):
            path = Path(parent, name)
            mode, relative = path.lstat().st_mode, path.relative_to(folder).as_posix()
            if stat.S_ISLNK(mode):
                raise ImportRefused(f"{folder.name}/{relative}: expected a file, received a link; copy with `cp -rL`")
            if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
                raise ImportRefused(f"{folder.name}/{relative}: expected a file, received something else")
            if stat.S_ISREG(mode):
                yield relative, path


@translate_storage_errors()
def copy_files(source: Source, target: Path, report: Report) -> dict[str, str]:
    """Copies a SavedModel; returns the SHA-256 of each file. Of a Keras file, only that.

    Raises:
        StorageFailed: the disk has not the room for it, or cannot be written.
    """
    size = source.size
    free = shutil.disk_usage(target).free
    if size + RESERVE > free:
        raise StorageFailed(f"storage: {format_size(size)} are to be copied, {format_size(free)} are free in {target}")
    copying = source.form == "SavedModel"
    progress = _CopyProgress(size, report)
    return {name: copy_file(path, target / name if copying else None, progress) for name, path in source.files.items()}


def copy_file(path: Path, target: Path | None, progress: "_CopyProgress") -> str:
    """SHA-256 of what was read, and written if there is a target."""
    total = hashlib.sha256()
    if target:
        target.parent.mkdir(parents=True, exist_ok=True)
    # A link that has taken the file's place meanwhile is not followed.
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as read, open(target or os.devnull, "wb") as write:  # noqa: PTH123
        while chunk := read.read(CHUNK):
            total.update(chunk)
            write.write(chunk)
            progress.add(len(chunk))
    return total.hexdigest()


class _CopyProgress:
    """Reports how much has been copied, at an interval."""

    def __init__(self, size: int, report: Report) -> None:
        self._size, self._report = size, report
        self._done, self._reported_at = 0, 0.0

    def add(self, count: int) -> None:
        self._done += count
        if time.monotonic() - self._reported_at > REPORT_INTERVAL_S:
            self._reported_at = time.monotonic()
            self._report(Progress("import", f"read {format_size(self._done)} of {format_size(self._size)}"))


def format_size(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
