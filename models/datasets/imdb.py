"""The IMDB large movie review dataset (Maas et al. 2011, https://aclanthology.org/P11-1015/): is a review positive?"""

import gzip
import hashlib
import json
import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path

import numpy as np

from modelyard.models.data import Dataset, RemoteFile, Split, Splits
from modelyard.models.errors import CorruptData
from modelyard.models.types import Array

ARCHIVE = "aclImdb_v1.tar.gz"
LABELS = ("negative", "positive")
VALIDATION_REVIEWS = 2_500
"""Held out of the 25,000 labelled training reviews, half of each class."""

_MEMBER = re.compile(r"aclImdb/(train/(?:pos|neg|unsup)|test/(?:pos|neg))/[^/]+\.txt")
_COUNTS = {"train/neg": 12_500, "train/pos": 12_500, "test/neg": 12_500, "test/pos": 12_500, "train/unsup": 50_000}
_CONTENT_SHA256 = "cc4553e37bf03608c8e9245590305a73c1d4e99907f8bbbb66494622d9d9b98a"
_SPLIT_SEED = 20110619
_UNREADABLE = (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile)


def read(folder: Path) -> Splits:
    """The official 25,000 + 25,000 reviews with ``unlabelled`` the other 50,000, straight from the archive.

    Texts are stripped and their white space collapsed to single blanks; class 0 is negative, 1 positive. Every part is
    in the order of the member names.

    Raises:
        CorruptData: the archive is truncated, not an archive, or its texts are not the published ones.
        FileNotFoundError: there is no such file in ``folder``.
    """
    texts = _read_texts(folder / ARCHIVE)
    train, test = (_labelled(texts[f"{part}/neg"], texts[f"{part}/pos"]) for part in ("train", "test"))
    train, validation = hold_out(train, VALIDATION_REVIEWS // 2)
    return Splits(train=train, validation=validation, test=test, unlabelled=_array(texts["train/unsup"]))


def sample() -> Splits:
    """The short reviews written for this project and shipped with it; a fifth of the training part is held out."""
    train, test = (_read_lines(f"reviews_{part}.jsonl") for part in ("train", "test"))
    train, validation = hold_out(train, len(train) // 10)
    return Splits(train=train, validation=validation, test=test)


def hold_out(split: Split, per_class: int) -> tuple[Split, Split]:
    """``(rest, held out)``: ``per_class`` examples of each class, always the same ones, go to the second."""
    generator = np.random.default_rng(_SPLIT_SEED)
    members = [np.flatnonzero(split.y == label) for label in np.unique(split.y)]
    chosen = np.sort(np.concatenate([generator.permutation(ids)[:per_class] for ids in members]))
    rest = np.setdiff1d(np.arange(len(split)), chosen)
    return Split(split.x[rest], split.y[rest]), Split(split.x[chosen], split.y[chosen])


def normalise(text: str) -> str:
    """``text`` without white space at its ends, every other run of (Unicode) white space one blank."""
    return " ".join(text.split())


def _read_texts(archive: Path) -> dict[str, list[str]]:
    """Texts by part, in the order of the member names, after the count and the content checksum were verified."""
    try:
        members = sorted(_members(archive))
    except _UNREADABLE as error:
        raise CorruptData(
            f"{ARCHIVE}: expected a complete gzip-compressed tar, received a damaged file: {error}"
        ) from None
    counts = {part: sum(part == found for _, found, _ in members) for part in _COUNTS}
    if counts != _COUNTS:
        raise CorruptData(f"{ARCHIVE}: expected {_COUNTS} texts, received {counts}")
    checksum = content_checksum((name, data) for name, _, data in members)
    if checksum != _CONTENT_SHA256:
        raise CorruptData(f"{ARCHIVE}: expected texts with SHA-256 {_CONTENT_SHA256}, received {checksum}")
    texts: dict[str, list[str]] = {part: [] for part in _COUNTS}
    for _, part, data in members:
        texts[part].append(normalise(data.decode("utf-8")))
    return texts


def _members(archive: Path) -> Iterator[tuple[str, str, bytes]]:
    """``(member name, part, content)`` of every review in the archive, as the stream brings them."""
    # Not by tarfile's own "r|gz": in Python 3.11.2 garbage ends that with an AttributeError.
    with gzip.open(archive) as file, tarfile.open(fileobj=file, mode="r|") as tar:
        for member in tar:
            match = _MEMBER.fullmatch(member.name)
            content = tar.extractfile(member) if match and member.isfile() else None
            if match and content:
                yield member.name, match[1], content.read()


def content_checksum(members: Iterable[tuple[str, bytes]]) -> str:
    """SHA-256 of the lines ``<member name> <SHA-256 of its bytes>``, sorted: however the archive was packed."""
    lines = sorted(f"{name} {hashlib.sha256(data).hexdigest()}\n" for name, data in members)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _read_lines(name: str) -> Split:
    text = (files("modelyard.models.datasets") / "samples" / name).read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines() if line]
    labels = np.array([LABELS.index(row["label"]) for row in rows], np.int32)
    return Split(_array([normalise(row["text"]) for row in rows]), labels)


def _labelled(negative: list[str], positive: list[str]) -> Split:
    return Split(_array(negative + positive), np.repeat(np.arange(2, dtype=np.int32), (len(negative), len(positive))))


def _array(texts: list[str]) -> Array:
    return np.array(texts, dtype=object)


IMDB = Dataset(
    name="imdb",
    homepage="https://ai.stanford.edu/~amaas/data/sentiment/",
    files=(RemoteFile(ARCHIVE, (f"https://ai.stanford.edu/~amaas/data/sentiment/{ARCHIVE}",)),),
    read=read,
    sample=sample,
    sample_name="short reviews written for this project",
)
