"""Reading the IMDB archive and the reviews that stand in for it."""

import gzip
import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

from modelyard.models.datasets import imdb
from modelyard.models.errors import CorruptData

DATA = os.environ.get("MODELYARD_DATA_DIR")


def pack(folder: Path, texts: dict[str, str]) -> None:
    with tarfile.open(folder / imdb.ARCHIVE, "w:gz") as tar:
        for name, text in texts.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))


def test_truncated_archive_is_corrupt(tmp_path: Path) -> None:
    """A download that broke off is named as damaged, in one line."""
    noise = np.random.default_rng(0).bytes(50_000).hex()
    pack(tmp_path, {"aclImdb/train/pos/0_9.txt": noise})
    whole = (tmp_path / imdb.ARCHIVE).read_bytes()
    (tmp_path / imdb.ARCHIVE).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorruptData, match=r"^aclImdb_v1\.tar\.gz: expected a complete gzip-compressed tar.*$"):
        imdb.read(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"<html>404</html>", gzip.compress(b"not a tar", mtime=0), b"\x1f\x8b\x08garbage" * 99]
)
def test_garbage_is_corrupt(tmp_path: Path, content: bytes) -> None:
    """Nothing at all, an error page, something else compressed, noise: refused."""
    (tmp_path / imdb.ARCHIVE).write_bytes(content)
    with pytest.raises(CorruptData):
        imdb.read(tmp_path)


def test_missing_reviews_are_corrupt(tmp_path: Path) -> None:
    """An archive with another number of reviews is refused; other members do not count."""
    pack(
        tmp_path,
        {"aclImdb/train/pos/0_9.txt": "fine", "aclImdb/README": "x", "aclImdb/train/pos/../../../etc.txt": "x"},
    )
    with pytest.raises(CorruptData, match="'train/pos': 1,"):
        imdb.read(tmp_path)


def test_missing_file_is_not_called_corrupt(tmp_path: Path) -> None:
    """No file is an absence, which the caller may answer by fetching it."""
    with pytest.raises(FileNotFoundError):
        imdb.read(tmp_path)


def test_content_checksum_ignores_the_order_but_no_byte() -> None:
    """The same texts in any order have one checksum; one changed byte or name has another."""
    one, two = ("a.txt", b"fine"), ("b.txt", b"awful")
    assert imdb.content_checksum([one, two]) == imdb.content_checksum([two, one])
    assert imdb.content_checksum([one, two]) != imdb.content_checksum([one, ("b.txt", b"Awful")])
    assert imdb.content_checksum([one, two]) != imdb.content_checksum([one, ("c.txt", b"awful")])


def test_white_space_is_normalised() -> None:
    """Ends are stripped; tabs, line ends and Unicode spaces become single blanks."""
    assert imdb.normalise("\u3000 A\t\tfilm\u00a0 \r\n worth\u2028it \x0b") == "A film worth it"


def test_sample_is_labelled_and_split() -> None:
    """The stand-in holds three parts, both classes in each, and no text of one part in another."""
    splits = imdb.sample()
    parts = (splits.train, splits.validation, splits.test)
    for part in parts:
        assert part.x.dtype == object
        assert part.y.dtype == np.int32
        assert set(part.y.tolist()) == {0, 1}
        assert all(text == imdb.normalise(text) != "" for text in part.x)
    assert len(set().union(*(part.x for part in parts))) == sum(len(set(part.x)) for part in parts)


def test_held_out_reviews_are_balanced_and_always_the_same() -> None:
    """Two reads hold out the same reviews, as many of each class."""
    first, second = imdb.sample(), imdb.sample()
    assert first.validation.x.tolist() == second.validation.x.tolist()
    assert np.bincount(first.validation.y).tolist() == [len(first.validation) // 2] * 2


@pytest.mark.skipif(not DATA, reason="MODELYARD_DATA_DIR names no folder with the real archive")
def test_published_archive_is_read() -> None:
    """25,000 training reviews, 2,500 of them held out, 25,000 to test on, 50,000 without a label."""
    splits = imdb.read(Path(str(DATA)))
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (22_500, 2_500, 25_000)
    assert splits.unlabelled is not None
    assert len(splits.unlabelled) == 50_000
    assert splits.validation.y.sum() == 1_250
    assert splits.test.y.sum() == 12_500
    assert splits.train.x[0].startswith("Story of a man who has unnatural feelings for a pig.")
