"""Specks are taken out of small pictures, strokes are not."""

import numpy as np
import pytest
import tensorflow as tf

from modelyard.models.datasets.mnist import sample
from modelyard.models.images.decoding import compile_image_decoder
from modelyard.models.images.ink_specks import clear_specks
from modelyard.models.inputs import ImageInput, Ink
from modelyard.models.types import Array
from tests.keras.models.test_ink import encode

DIGITS: Array = sample().test.x[:40]


def clear(pictures: Array) -> Array:
    cleared: Array = clear_specks(tf.constant(pictures, tf.float32)).numpy()
    return cleared


def speckle(pictures: Array, share: float, seed: int) -> Array:
    """``float32``: so many pixels black or white."""
    drawn = np.random.default_rng(seed).random(pictures.shape[:3])[..., None]
    specked: Array = np.where(drawn < share / 2, 0, np.where(drawn > 1 - share / 2, 255, pictures))
    return specked.astype(np.float32)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("paper", [0, 255])
def test_most_specks_go_whatever_the_paper(channels: int, paper: int) -> None:
    plain = np.repeat(np.abs(paper - DIGITS.astype(np.float32)), channels, axis=-1)
    specked = speckle(plain, 0.1, seed=1)
    assert np.abs(clear(specked) - plain).mean() < 0.4 * np.abs(specked - plain).mean()


def test_plain_digits_are_left_as_they_are() -> None:
    np.testing.assert_array_equal(clear(DIGITS), DIGITS)


@pytest.mark.parametrize("is_slanted", [False, True])
def test_a_line_of_one_pixel_stays_among_specks(*, is_slanted: bool) -> None:
    drawn = np.eye(28, dtype=np.float32) if is_slanted else np.zeros((28, 28), np.float32)
    drawn[:, 14] = drawn[:, 14] if is_slanted else 1
    specked = speckle(255 * drawn[None, ..., None], 0.1, seed=2)
    line = (drawn[None, ..., None] > 0) & (specked > 0)
    assert np.mean(clear(specked)[line] > 0) > 0.9


def test_few_specks_stay_as_they_may_be_strokes() -> None:
    drawn = np.zeros((1, 28, 28, 1), np.float32)
    drawn[0, [5, 15, 20], [6, 12, 20]] = 255
    np.testing.assert_array_equal(clear(drawn), drawn)


@pytest.mark.parametrize("size", [(1, 1), (1, 28), (2, 2), (64, 3)])
def test_any_size_is_taken(size: tuple[int, int]) -> None:
    assert clear(np.full((1, *size, 3), 90)).shape == (1, *size, 3)


@pytest.mark.long
@pytest.mark.parametrize("size", [2, 7, 40])
def test_files_with_specks_do_not_depend_on_their_batch(size: int) -> None:
    """Black on white, white on black, in colour, transparent, and plain ones between them."""
    specked = speckle(np.repeat(DIGITS, 4, axis=-1), 0.12, seed=3)
    white = speckle(255 - DIGITS.astype(np.float32), 0.12, seed=4)
    forms = (specked[..., 0], specked[..., :3], specked, white[..., 0], DIGITS[..., 0])
    files = [encode(forms[place % len(forms)][place]) for place in range(len(DIGITS))]
    normalise = compile_image_decoder(ImageInput(28, 28, ink=Ink()))
    alone = np.concatenate([normalise([file]) for file in files])
    together = [normalise(files[first : first + size]) for first in range(0, len(files), size)]
    np.testing.assert_array_equal(np.concatenate(together), alone)
