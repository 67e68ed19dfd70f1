"""Which files of a folder are pictures, of which class, and of which part."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from modelyard.models.errors import InvalidData
from modelyard.models.readers.splits import TEST, TRAIN, VALIDATION

PICTURES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif")
OTHER_PICTURES = (".avif", ".bmp", ".gif", ".heic", ".heif", ".jp2", ".jxl", ".tif", ".tiff", ".webp")
"""Ends of names of pictures that no model is asked about: they count as pictures that cannot be read."""
PARTS: Mapping[str, int] = {
    "train": TRAIN,
    "validation": VALIDATION,
    "val": VALIDATION,
    "valid": VALIDATION,
    "test": TEST,
}
"""Names of folders that a dataset's own parts are in."""
NOT_CLASSES = ("__MACOSX",)
"""What archives leave behind; so are names that begin with a dot."""


@dataclass(frozen=True)
class Picture:
    """One file."""

    file: Path
    label: int
    part: int | None = None
    """The part whose folder it is in; None where there are no such folders."""


@dataclass(frozen=True)
class PictureList:
    """All pictures of a folder."""

    labels: tuple[str, ...]
    pictures: tuple[Picture, ...]
    ignored: int
    """Other files."""


def list_labels(root: Path) -> tuple[str, ...]:
    """Names of classes, sorted: those of the folders in ``root``, or in its folder ``train``.

    Raises:
        InvalidData: there is no such folder, or there are not at least two classes.
    """
    return tuple(folder.name for folder in _list_classes(_list_parts(root).get("train", root)))


def list_pictures(root: Path) -> PictureList:
    """All pictures below ``root``, in the order of their paths. Each folder is looked into once, whatever links say.

    Raises:
        InvalidData: a class without pictures, or one that is in another part only; a folder that cannot be read.
    """
    labels = list_labels(root)
    parts = _list_parts(root)
    folders = [
        (folder, _find_label(folder, labels), PARTS.get(name))
        for name, part in (parts or {"": root}).items()
        for folder in _list_classes(part, minimum=1)
    ]
    walk = _Walk({_identify(folder) for folder in (root, *parts.values(), *(folder for folder, _, _ in folders))})
    pictures = tuple(Picture(file, label, part) for folder, label, part in folders for file in walk.list_files(folder))
    for number, label in enumerate(labels):
        if not any(picture.label == number and picture.part in (None, TRAIN) for picture in pictures):
            raise InvalidData(f"{root}: the class folder {label!r} has no pictures; add some, or remove it")
    return PictureList(labels, pictures, walk.ignored)


def _list_parts(root: Path) -> dict[str, Path]:
    """Folders of parts by name; empty if ``root`` holds the classes themselves.

    Raises:
        InvalidData: ``root`` is no folder, or some parts are missing.
    """
    if not root.is_dir():
        what = "is no folder" if root.exists() else "is not there: a path is relative to the folder of the model's file"
        raise InvalidData(f"{root} {what}")
    names = {folder.name: folder for folder in _list_folders(root)}
    if "train" not in names or not names.keys() <= PARTS.keys():
        return {}
    if "test" not in names:
        raise InvalidData(
            f"{root} has folders {', '.join(names)}: expected train and test, maybe validation; or a folder for each "
            "class, and no parts"
        )
    return names


def _list_classes(folder: Path, minimum: int = 2) -> list[Path]:
    found = _list_folders(folder)
    if len(found) < minimum:
        names = f"one, {found[0].name!r}" if found else "none"
        raise InvalidData(f"{folder}: expected a folder of pictures for each of two or more classes, received {names}")
    return found


def _list_folders(folder: Path) -> list[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise describe_unreadable(folder, error) from None
    return [entry for entry in entries if not _is_hidden(entry.name) and entry.is_dir()]


def _find_label(folder: Path, labels: tuple[str, ...]) -> int:
    if folder.name not in labels:
        raise InvalidData(f"{folder}: no such class in the folder train, which has {', '.join(labels)}")
    return labels.index(folder.name)


class _Walk:
    """Looks into folders; counts files that are no pictures."""

    def __init__(self, seen: set[tuple[int, int]]) -> None:
        self._seen, self.ignored = seen, 0

    def list_files(self, folder: Path) -> Iterator[Path]:
        """Pictures in a folder and those below it, sorted."""
        for path, folders, files in os.walk(folder, onerror=self._refuse, followlinks=True):
            folders[:] = [name for name in sorted(folders) if self._is_new(Path(path, name))]
            for name in sorted(files):
                if Path(name).suffix.lower() in PICTURES + OTHER_PICTURES and not _is_hidden(name):
                    yield Path(path, name)
                else:
                    self.ignored += 1

    def _is_new(self, folder: Path) -> bool:
        if _is_hidden(folder.name) or (found := _identify(folder)) in self._seen:
            return False
        self._seen.add(found)
        return True

    @staticmethod
    def _refuse(error: OSError) -> None:
        raise describe_unreadable(Path(error.filename), error)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in NOT_CLASSES


def _identify(folder: Path) -> tuple[int, int]:
    try:
        found = folder.stat()
    except OSError as error:
        raise describe_unreadable(folder, error) from None
    return found.st_dev, found.st_ino


def describe_unreadable(folder: Path, error: OSError) -> InvalidData:
    """The error of a folder that cannot be read, or vanished while it was."""
    if isinstance(error, FileNotFoundError):
        return InvalidData(f"{folder} vanished while it was read")
    return InvalidData(f"{folder} cannot be read: {error.strerror}")
