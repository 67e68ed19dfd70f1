"""Pens of copies to train on: how wide they draw, by which nibs, and what becomes of thin strokes."""

import numpy as np
import pytest

from modelyard.models.images.ink_copies import change_pens
from modelyard.models.types import Array

COUNT = 400


def draw_line(width: int, *, is_slanted: bool = False) -> Array:
    """``float32 [400,28,28,1]``: the same stroke of so many pixels from top to bottom."""
    places = np.arange(28)
    middle = places[:, None] if is_slanted else 14
    first = middle - width // 2
    stroke = ((places >= first) & (places < first + width)).astype(np.float32) * 255
    image = np.broadcast_to(stroke, (28, 28))
    return np.tile(image[None, ..., None], (COUNT, 1, 1, 1))


def measure_widths(images: Array) -> Array:
    """``float [N]``: pixels of ink in a row, away from the ends."""
    ink: Array = images[:, 10:18, :, 0].sum(axis=2).mean(axis=1) / 255
    return ink


@pytest.mark.parametrize("width", [4, 5])
def test_a_stroke_becomes_up_to_two_pixels_narrower_or_wider(width: int) -> None:
    """And anything between, evenly: nibs that reach along the stroke alone leave it."""
    widths = measure_widths(change_pens(draw_line(width), np.random.default_rng(1)))
    assert width - 2 < widths.min() < width - 1
    assert width + 1.5 < widths.max() < width + 2.6
    assert len(np.unique(np.round(widths, 2))) > COUNT / 4


@pytest.mark.parametrize("is_slanted", [False, True])
def test_a_line_of_one_pixel_vanishes_seldom(*, is_slanted: bool) -> None:
    """Narrower pens break it up at times; half of them never do."""
    changed = change_pens(draw_line(1, is_slanted=is_slanted), np.random.default_rng(2))
    faintest = changed[:, 8:20, :, 0].max(axis=2).min(axis=1)
    assert 0.02 < np.mean(faintest < 80) < 0.15
    assert np.mean(faintest > 120) > 0.85


def test_ink_is_as_strong_as_before() -> None:
    strongest = change_pens(draw_line(3), np.random.default_rng(3)).reshape(COUNT, -1).max(axis=1)
    assert np.percentile(strongest, 5) > 240
    assert strongest.max() <= 255


def test_paper_stays_empty_and_a_full_sheet_full() -> None:
    empty, full = np.zeros((8, 28, 28, 1), np.float32), np.full((8, 28, 28, 1), 255, np.float32)
    assert change_pens(empty, np.random.default_rng(4)).max() == 0
    assert change_pens(full, np.random.default_rng(4))[:, 2:-2, 2:-2].min() > 250


def test_the_same_randomness_gives_the_same_pens_on_any_size_of_picture() -> None:
    wide = np.random.default_rng(5).uniform(0, 255, (4, 20, 32, 1)).astype(np.float32)
    first, second = (change_pens(wide, np.random.default_rng(6)) for _ in range(2))
    assert first.shape == wide.shape
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, second)


def test_no_pictures_and_tiny_ones_are_taken() -> None:
    """Of a batch, the share that is changed may be nothing."""
    assert change_pens(np.zeros((0, 28, 28, 1), np.float32), np.random.default_rng(7)).shape == (0, 28, 28, 1)
    assert change_pens(np.zeros((2, 3, 4, 1), np.float32), np.random.default_rng(7)).shape == (2, 3, 4, 1)
