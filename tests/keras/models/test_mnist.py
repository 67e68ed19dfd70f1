"""MNIST: reading and refusing files, the sample, how training images are moved, the baseline."""

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from modelyard.models.data import Splits
from modelyard.models.datasets import mnist
from modelyard.models.datasets.mnist import MNIST
from modelyard.models.datasets.mnist_baseline import set_upright
from modelyard.models.errors import CorruptData
from modelyard.models.images import moving
from modelyard.models.types import Array
from modelyard.models.zoo.mnist_cnn import SPEC, MnistRecipe, choose_augmentation

DATA = os.environ.get("MODELYARD_DATA_DIR")
real = pytest.mark.skipif(DATA is None, reason="MODELYARD_DATA_DIR does not name a folder with the real files")


@pytest.fixture(scope="module")
def sample() -> Splits:
    return mnist.sample()


# --- the real files -----------------------------------------------------------------------------------------------


def arrays(count: int = 5) -> dict[str, Array]:
    images, labels = np.zeros((count, 28, 28), np.uint8), np.zeros(count, np.uint8)
    return {"x_train": images, "y_train": labels, "x_test": images, "y_test": labels}


def npz(**content: Array) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, **content)
    return out.getvalue()


def zipped(**content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in content.items():
            archive.writestr(f"{name}.npy", data)
    return out.getvalue()


def pickled() -> bytes:
    out = io.BytesIO()
    np.save(out, np.array([{}], dtype=object), allow_pickle=True)
    return out.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>404</html>",
        npz(**arrays())[:400],
        npz(x_train=np.zeros(1)),
        zipped(x_train=b"not an array"),
        zipped(x_train=b"\x93NUMPY\x01\x00"),
        zipped(x_train=pickled()),
    ],
    ids=["empty", "error page", "truncated", "arrays missing", "no array", "half an array", "pickle"],
)
def test_damaged_file_is_corrupt(tmp_path: Path, content: bytes) -> None:
    """Nothing, something else, a broken download, pickled objects: refused in one line that names the file."""
    (tmp_path / mnist.ARCHIVE).write_bytes(content)
    with pytest.raises(CorruptData, match=r"^mnist\.npz: expected arrays .*; received a damaged file: .+$"):
        mnist.read(tmp_path)


def test_other_digits_are_corrupt(tmp_path: Path) -> None:
    """A sound archive of other images is refused, saying which array differs."""
    (tmp_path / mnist.ARCHIVE).write_bytes(npz(**arrays()))
    with pytest.raises(CorruptData, match="expected x_train with idx MD5 6bbc9ace"):
        mnist.read(tmp_path)


def test_no_damage_escapes_as_another_error(tmp_path: Path) -> None:
    """Whatever byte of the archive is overwritten, the answer is ``CorruptData``."""
    whole = npz(**arrays())
    for position in range(0, len(whole), 7):
        content = bytearray(whole)
        content[position] ^= 0xFF
        (tmp_path / mnist.ARCHIVE).write_bytes(content)
        with pytest.raises(CorruptData):
            mnist.read(tmp_path)


def test_missing_file_is_not_called_corrupt(tmp_path: Path) -> None:
    """No file is an absence, which the caller may answer by fetching it."""
    with pytest.raises(FileNotFoundError):
        mnist.read(tmp_path)


def test_checksum_is_that_of_an_idx_file() -> None:
    """The header is that of the published files: type 8 (bytes), the rank, big-endian sizes."""
    from hashlib import md5

    content = b"\0\0\x08\x02" + b"\0\0\0\x01" + b"\0\0\0\x03" + b"\x07\x08\x09"
    assert mnist.hash_idx(np.array([[7, 8, 9]], np.uint8)) == md5(content).hexdigest()


@real
def test_real_digits_are_the_published_ones_with_validation_held_out() -> None:
    """The official test set stays whole; 5,000 training images, always the same, are for choosing."""
    splits = mnist.read(Path(DATA or ""))
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [55_000, 5_000, 10_000]
    assert splits.test.y[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert splits.train.x.dtype == np.uint8
    assert np.bincount(splits.validation.y).min() > 400


def test_held_out_examples_are_always_the_same() -> None:
    """No example is lost or in both parts."""
    everything = mnist.Split(np.arange(50), np.arange(50))
    rest, held_out = mnist.hold_out(everything, 10)
    assert len(held_out) == 10
    assert sorted([*rest.x, *held_out.x]) == list(range(50))
    np.testing.assert_array_equal(held_out.x, mnist.hold_out(everything, 10)[1].x)


# --- the sample ---------------------------------------------------------------------------------------------------


def test_sample_has_the_form_of_the_real_data(sample: Splits) -> None:
    """Real scans in MNIST's format, split once and for all, each digit in every part."""
    again = mnist.sample()
    for part, repeated, size in zip(
        (sample.train, sample.validation, sample.test),
        (again.train, again.validation, again.test),
        (1_257, 180, 360),
        strict=True,
    ):
        assert part.x.shape == (size, 28, 28, 1)
        assert (part.x.dtype, part.y.dtype) == (np.uint8, np.int32)
        assert np.ptp(np.bincount(part.y, minlength=10)) <= size * 0.02
        np.testing.assert_array_equal(part.x, repeated.x)
    assert sum(len(part) for part in (sample.train, sample.validation, sample.test)) == 1_797


def test_sample_is_drawn_like_mnist(sample: Splits) -> None:
    """White on black up to full brightness, at most 20 pixels high and wide, the centre of mass in the middle."""
    for image in sample.test.x[..., 0].astype(float):
        rows, columns = np.nonzero(image)
        assert max(np.ptp(rows), np.ptp(columns)) < 20
        centre = [np.average(np.arange(28), weights=image.sum(axis)) for axis in (1, 0)]
        np.testing.assert_allclose(centre, 13.5, atol=0.51)
        assert 200 < image.max() <= 255


def test_enlarging_keeps_what_is_even_and_what_is_symmetric() -> None:
    """The resize invents neither a gradient nor an offset."""
    even = mnist.resize_like_mnist(np.full((1, 8, 8), 16.0))[0, 4:24, 4:24]
    assert (even == 255).all()
    ramp = np.tile(np.arange(8.0), (1, 8, 1))
    forth, back = mnist.resize_like_mnist(ramp)[0], mnist.resize_like_mnist(ramp[..., ::-1])[0]
    np.testing.assert_array_equal(forth, back[:, ::-1])


# --- augmentation -------------------------------------------------------------------------------------------------


class Fixed:
    """Stands in for a generator: every uniform draw is what was given (shift down and right, rotation, scale)."""

    def __init__(self, *draws: float) -> None:
        self._draws = np.array(draws)[:, None, None]

    def uniform(self, low: float, high: float, shape: tuple[int, ...]) -> Array:
        assert (low, high) == (-1, 1)
        return np.broadcast_to(self._draws, shape)


def moved(x: Array, *draws: float, shift: float = 2, rotation: float = 90, scale: float = 0.5) -> Array:
    generator: np.random.Generator = Fixed(*draws)  # type: ignore[assignment]  # has the one method that is used
    return moving.transform_images(x, generator, shift=shift, rotation=rotation, scale=scale)


def test_images_that_are_not_moved_stay_the_same(sample: Splits) -> None:
    """Zero displacement is the identity, exactly."""
    np.testing.assert_array_equal(moved(sample.test.x, 0, 0, 0, 0), sample.test.x)


def test_images_move_by_whole_pixels_without_loss(sample: Splits) -> None:
    """Down is positive, right is positive, black comes in."""
    x = sample.test.x
    np.testing.assert_array_equal(moved(x, 1, -0.5, 0, 0)[:, 2:, :-1], x[:, :-2, 1:])
    assert not moved(x, 1, -0.5, 0, 0)[:, :2].any()


def test_images_turn_about_their_centre(sample: Splits) -> None:
    """A quarter turn is a quarter turn, clockwise."""
    np.testing.assert_allclose(moved(sample.test.x, 0, 0, 1, 0), np.rot90(sample.test.x, -1, axes=(1, 2)), atol=0.01)


def test_images_grow_about_their_centre() -> None:
    """A bright box of 8 pixels becomes one of 12 when scaled by half."""
    x = np.zeros((1, 28, 28, 1), np.uint8)
    x[:, 10:18, 10:18] = 200
    bright = moved(x, 0, 0, 0, 1)[0, ..., 0] > 100
    assert bright.sum() == 144
    assert bright[8:20, 8:20].all()


def test_random_movement_stays_in_range_and_depends_on_the_generator_alone(sample: Splits) -> None:
    """Values 0..255, float32; the same randomness gives the same images, each image its own."""
    x = np.repeat(sample.test.x[:1], 50, axis=0)
    first, second = (
        moving.transform_images(x, np.random.default_rng(1), shift=8, rotation=45, scale=0.5) for _ in range(2)
    )
    assert first.dtype == np.float32
    assert 0 <= first.min() <= first.max() <= 255
    np.testing.assert_array_equal(first, second)
    assert len(np.unique(first, axis=0)) == 50


def test_shift_moves_each_image_by_whole_pixels_in_every_direction(sample: Splits) -> None:
    """Nine places are possible with one pixel, and all occur."""
    x = np.repeat(sample.test.x[:1], 200, axis=0)
    found = moving.shift_images(x, np.random.default_rng(0), pixels=1)
    allowed = {
        np.roll(x[0], step, axis=(0, 1)).tobytes() for step in np.ndindex(3, 3) for step in [np.subtract(step, 1)]
    }
    assert {image.tobytes() for image in found} == allowed


def test_bent_images_are_moved_smoothly_and_not_as_a_whole() -> None:
    """Neighbours stay neighbours, places far apart go their own ways; how far is drawn for each image."""
    column, row = np.meshgrid(np.arange(28.0), np.arange(28.0))
    ramps = np.stack([row, column], axis=0)[..., None]
    x = np.repeat(ramps[:1], 300, axis=0)
    bent = moving.transform_images(x, np.random.default_rng(0), shift=0, rotation=0, scale=0, elastic=1.5)
    inner = (x - bent)[:, 8:20, 8:20, 0]  # what comes in from outside is black
    assert np.abs(np.diff(inner, axis=2)).max() < 1.5
    assert 0.6 < inner.std() < 1.1  # limit / sqrt(3)
    assert abs(np.corrcoef(inner[:, 0, 0], inner[:, 0, 1])[0, 1]) > 0.9
    assert abs(np.corrcoef(inner[:, 0, 0], inner[:, -1, -1])[0, 1]) < 0.4
    spreads = np.abs(inner).max(axis=(1, 2))
    assert spreads.min() < 0.2
    assert spreads.max() > 1.5


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_share_of_the_images_is_redrawn(sample: Splits, share: float) -> None:
    """The others are moved by whole pixels, as if none were."""
    x = np.repeat(sample.test.x[:1], 400, axis=0)
    augment = choose_augmentation(MnistRecipe(shift=1, redrawn=share))
    assert augment
    found = augment(x, np.random.default_rng(0))
    usual = moving.shift_images(x, np.random.default_rng(0), pixels=1)
    same = (found == usual).all(axis=(1, 2, 3)).mean()
    assert abs(same - (1 - share)) < 0.08


def test_recipe_without_movement_has_no_augmentation() -> None:
    """Nothing is computed that changes nothing."""
    assert choose_augmentation(MnistRecipe(shift=0)) is None


def test_a_recipe_may_turn_and_bend_alone(sample: Splits) -> None:
    """Turning needs no movement beside it, nor does bending."""
    x = sample.test.x[:50]
    for recipe in (MnistRecipe(shift=0, redrawn=0.5), MnistRecipe(shift=0, elastic=1)):
        augment = choose_augmentation(recipe)
        assert augment
        assert (augment(x, np.random.default_rng(0)) != x).any()


# --- where it comes from, and what simple methods make of it ------------------------------------------------------


def test_dataset_names_its_home_and_mirrors() -> None:
    """All sources are encrypted; content is checked on top."""
    assert all(url.startswith("https://") for file in MNIST.files for url in file.urls)


def test_the_baseline_is_a_strong_one(sample: Splits) -> None:
    """A logistic regression of pixels has 96 % of the sample, this 99."""
    assert SPEC.baseline is not None
    found = SPEC.baseline(sample)
    assert found.value > 0.985
    assert "gradients" in found.method


def test_digits_are_set_upright() -> None:
    """A stroke that leans is straight afterwards, and in the middle; an empty image stays one."""
    leaning = np.zeros((28, 28), np.float32)
    for row in range(4, 24):
        leaning[row, 20 - row // 2 : 22 - row // 2] = 1
    upright, empty = set_upright(np.stack([leaning, np.zeros_like(leaning)]))
    columns = np.flatnonzero(upright.sum(axis=0) > 2)
    assert columns.max() - columns.min() <= 3
    assert abs(columns.mean() - 13.5) <= 1
    assert not empty.any()
