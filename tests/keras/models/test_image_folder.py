"""Folders of pictures: classes, parts, what is left out, and what is refused."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from modelyard import image_folder
from modelyard.models.data import Split, Splits
from modelyard.models.errors import InvalidData
from modelyard.models.inputs import ImageInput
from modelyard.models.readers.image_files import list_pictures
from modelyard.models.readers.images import ImageReader
from modelyard.models.readers.splits import DEFAULT_SHARES
from tests.support.photos import encode_image

SIZE = (8, 8)


def noise(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), np.uint8))


def write(folder: Path, count: int, first: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        (folder / f"{number}.png").write_bytes(encode_image(noise(number)))


def read(root: Path, **options: Any) -> Splits:
    return image_folder(root, SIZE, **options).read(Path("/"))


@pytest.fixture
def animals(tmp_path: Path) -> Path:
    """60 pictures of each of two animals."""
    for place, name in enumerate(("cats", "dogs")):
        write(tmp_path / name, 60, first=60 * place)
    return tmp_path


def to_rows(split: Split) -> set[bytes]:
    return {row.tobytes() for row in split.x}


def test_classes_are_the_names_of_folders(animals: Path) -> None:
    """A glance at the names tells inputs, task and labels; reading gives pixels and class ids of each part."""
    dataset = image_folder(animals, SIZE)
    assert dataset.inspect
    seen = dataset.inspect(Path("/"))
    splits = dataset.read(Path("/"))
    assert splits.schema == seen
    assert (seen.labels, seen.task) == (("cats", "dogs"), "binary")
    parts = (splits.train, splits.validation, splits.test)
    assert sum(map(len, parts)) == 120
    assert all(part.x.dtype == np.uint8 and part.x.shape[1:] == (8, 8, 3) for part in parts)
    assert 80 < len(splits.train) < 110
    assert splits.notes == ()


def test_a_picture_stays_in_its_part_as_the_folder_grows(animals: Path) -> None:
    """A fifth more pictures and other names: none of the old training part is tested on."""
    before = read(animals)
    for file in (animals / "cats").iterdir():
        file.rename(file.with_name(f"old-{file.name}"))
    write(animals / "dogs", 24, first=200)
    after = read(animals)
    assert to_rows(before.train) <= to_rows(after.train)
    assert to_rows(before.test) <= to_rows(after.test)
    assert not to_rows(before.train) & to_rows(after.test)


def test_other_files_are_ignored_and_counted(animals: Path) -> None:
    """Texts, hidden files and folders, what archives leave behind; a loop of links is gone through once."""
    (animals / "README.md").write_text("animals")
    (animals / "cats" / "Thumbs.db").write_bytes(b"no picture")
    (animals / "cats" / ".DS_Store").write_bytes(b"no picture")
    write(animals / ".ipynb_checkpoints", 3)
    write(animals / "__MACOSX", 3)
    write(animals / "dogs" / "big" / "brown", 5, first=300)
    (animals / "dogs" / "again").symlink_to(animals)
    (animals / "dogs" / "big" / "loop").symlink_to(animals / "dogs" / "big")
    splits = read(animals)
    assert sum(map(len, (splits.train, splits.validation, splits.test))) == 125
    assert splits.schema
    assert splits.schema.labels == ("cats", "dogs")
    assert splits.notes == ("2 files ignored, which are no pictures",)


def test_a_dataset_keeps_its_own_parts(tmp_path: Path) -> None:
    """Folders train and test; what validation lacks comes out of the training part, by content."""
    for place, part in enumerate(("train", "test")):
        for other, name in enumerate(("a", "b", "c")):
            write(tmp_path / part / name, 30, first=1000 * place + 100 * other)
    splits = read(tmp_path)
    assert (len(splits.test), len(splits.train) + len(splits.validation)) == (90, 90)
    assert 0 < len(splits.validation) < 30
    for other, name in enumerate(("a", "b", "c")):
        write(tmp_path / "val" / name, 10, first=3000 + 100 * other)
    splits = read(tmp_path)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [90, 30, 90]
    write(tmp_path / "test" / "d", 1, first=5000)
    with pytest.raises(InvalidData, match=r"test/d: no such class in the folder train, which has a, b, c"):
        read(tmp_path)


def damage(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:70])


def lie(file: Path) -> None:
    file.write_bytes(b"RIFF0000WEBPVP8 ")


def promise_much(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[16:24] = (30_000).to_bytes(4, "big") * 2
    file.write_bytes(content)


def break_link(file: Path) -> None:
    file.unlink()
    file.symlink_to(file.with_name("nowhere.png"))


def make_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (damage, "is damaged or cut off"),
        (lambda file: file.write_bytes(b""), "is empty"),
        (lie, "expected PNG or JPEG, received something else"),
        (promise_much, "has 900000000 pixels, more than 100000000"),
        (break_link, "No such file"),
        (make_pipe, "is no file"),
    ],
)
def test_a_picture_that_cannot_be_read_is_left_out_and_named(
    animals: Path, spoil: Callable[[Path], object], reason: str
) -> None:
    """Of 120 pictures one may be."""
    spoil(animals / "cats" / "7.png")
    splits = read(animals)
    assert sum(map(len, (splits.train, splits.validation, splits.test))) == 119
    (note,) = splits.notes
    assert note.startswith(f"1 pictures left out, which cannot be read: cats/7.png {reason}")


def test_a_folder_of_many_pictures_that_cannot_be_read_is_refused(animals: Path) -> None:
    """More than 1 %: a few files are named, with reasons; the end of a name says nothing of the content."""
    damage(animals / "cats" / "7.png")
    (animals / "cats" / "8.png").rename(animals / "cats" / "8.webp")
    (animals / "dogs" / "70.png").unlink()
    lie(animals / "dogs" / "70.webp")
    with pytest.raises(InvalidData) as error:
        read(animals)
    assert str(error.value).endswith(
        "2 of 120 pictures cannot be read, more than 1 %: "
        "cats/7.png is damaged or cut off; dogs/70.webp expected PNG or JPEG, received .webp"
    )


def remove_all(folder: Path) -> None:
    for file in (folder / "cats").iterdir():
        file.unlink()


def keep_few(folder: Path) -> None:
    for file in [*sorted((folder / "cats").iterdir())[5:], *sorted((folder / "dogs").iterdir())[5:]]:
        file.unlink()


def remove_class(folder: Path) -> None:
    (folder / "cats").rename(folder / ".cats")


@pytest.mark.parametrize(
    ("spoil", "options", "problem"),
    [
        (remove_all, {}, "the class folder 'cats' has no pictures"),
        (remove_class, {}, "two or more classes, received one, 'dogs'"),
        (keep_few, {}, "has 10 pictures: at least 20 are needed"),
        (lambda _: None, {"max_gb": 1e-6}, r"120 pictures of 8x8x3 take 0.0 GB of memory, more than 1e-06"),
    ],
    ids=["a class without pictures", "one class", "few pictures", "too many for the memory"],
)
def test_a_folder_that_cannot_be_learned_from_is_refused(
    animals: Path, spoil: Callable[[Path], object], options: dict[str, Any], problem: str
) -> None:
    """Before any picture is decoded."""
    spoil(animals)
    with pytest.raises(InvalidData, match=problem):
        read(animals, **options)


def test_a_folder_that_is_not_there_or_has_no_classes_is_said_when_the_spec_is_loaded(tmp_path: Path) -> None:
    """By the glance that every load takes."""
    write(tmp_path / "flat", 5)
    (tmp_path / "file").write_text("no folder")
    for name, problem in (
        ("nowhere", "is not there: a path is relative to the folder of the model's file"),
        ("file", "is no folder"),
        ("flat", "two or more classes, received none"),
    ):
        inspect = image_folder(name).inspect
        assert inspect
        with pytest.raises(InvalidData, match=problem):
            inspect(tmp_path)


def test_a_folder_that_vanishes_while_it_is_read_is_an_error(animals: Path) -> None:
    """Between the listing of its files and their reading; not thousands of files that cannot be read."""
    found = list_pictures(animals)
    animals.rename(animals.with_name("moved"))
    reader = ImageReader(animals, ImageInput(*SIZE, 3), DEFAULT_SHARES, max_gb=1)
    with pytest.raises(InvalidData, match="vanished while it was read"):
        reader.decode_pictures(animals, found)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"size": (0, 5)}, r"expected size=\(height, width\) in pixels, received \(0, 5\)"),
        ({"channels": 2}, "expected channels 1, 3 or 4, received 2"),
        ({"resize": "fit"}, "expected resize stretch, pad, crop, received 'fit'"),
        ({"split": (0.5, 0.5, 0.5)}, "add up to 1"),
    ],
)
def test_wrong_arguments_are_said_at_once(arguments: dict[str, Any], problem: str) -> None:
    """When the model's file is imported."""
    with pytest.raises(InvalidData, match=problem):
        image_folder("photos", **arguments)
