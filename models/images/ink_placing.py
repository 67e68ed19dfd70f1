"""Drawn strokes normalised: found, cut out with their surroundings, and put in the middle, all of one size."""

from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from modelyard.models.images.ink_background import GRID
from modelyard.models.images.ink_finding import (
    SMOOTHING,
    Colours,
    Found,
    find_colours,
    find_ink,
    keep_coherent,
    mean_top,
    pool_mass,
)
from modelyard.models.images.ink_resampling import resample, smooth, weigh_pixels
from modelyard.models.inputs import ImageInput

WINDOW = 64
"""Pixels of the square about the ink that is looked at closely."""
_SURROUNDINGS = 1.6
"""The window's side, in sides of the ink."""
_MARGIN = 1.5
"""Cells about what was found that ink may still be in."""
_FRAME, _WIDEST = 0.3, 4
"""A frame has this share of the ink's strength, and fewer cells than that."""
_TAIL = 0.004
"""Share of the ink at each side that may lie outside of its extent."""
_FEATHER = 1.04
"""How much longer strokes are measured than they are, as they fade out."""
_STRONGEST = 40
"""Pixels that say how strong ink is."""


def normalise_ink(pictures: Any, sizes: Any, kind: ImageInput) -> Any:
    """``float32 [N,height,width,1]``: light on black, whole numbers.

    Args:
        pictures: ``float32 [N,S,S,C]``, 0..255, stretched to a square.
        sizes: ``float32 [N,2]``: their heights and widths before that.
    """
    view = locate_ink(pictures, sizes)
    return place_ink(cut_windows(pictures, view), view, kind)


@dataclass(frozen=True)
class View:
    """Where to look closely, in shares of a picture's sides; for each picture of a batch."""

    colours: Colours
    start: Any
    """``float32 [N,2]``: where the window begins, in rows and columns."""
    pitch: Any
    """``float32 [N,2]``: height and width of its pixels."""
    edges: Any
    """``float32 [N,4]``: where the picture begins and ends behind its frame: top, foot, left, right."""
    background: Any
    """``float32 [N,64,64]``: what is beyond those edges."""


def locate_ink(pictures: Any, sizes: Any) -> View:
    """Finds the ink of whole pictures; arguments as of ``normalise_ink``."""
    cells = _reduce(pictures)
    colours = find_colours(cells)
    found = find_ink(colours.weigh(cells), colours)
    ends = _measure_extent(found.strength) / GRID
    first, last = ends[:, ::2] - _MARGIN / GRID, ends[:, 1::2] + _MARGIN / GRID
    side = tf.reduce_max((last - first) * sizes, axis=1, keepdims=True) * _SURROUNDINGS
    pitch = side / WINDOW / sizes
    start = (first + last) / 2 - pitch * WINDOW / 2
    edges = _find_edges(found)
    weights = [
        _weigh_nearest(start[:, axis], pitch[:, axis], edges[:, 2 * axis], edges[:, 2 * axis + 1]) for axis in (0, 1)
    ]
    return View(colours, start, pitch, edges, resample(found.background, *weights))


def cut_windows(pictures: Any, view: View) -> Any:
    """``float32 [N,64,64]``: ink is positive."""
    size = pictures.shape[1]
    rows, columns = (_weigh_inside(view, axis, size) for axis in (0, 1))
    inside = tf.reduce_sum(rows, axis=2)[:, :, None] * tf.reduce_sum(columns, axis=2)[:, None, :]
    return resample(view.colours.weigh(pictures), rows, columns) + (1.0 - inside) * view.background


def _weigh_inside(view: View, axis: int, size: int) -> Any:
    places = (tf.range(size, dtype=tf.float32) + 0.5) / size
    is_inside = (places > view.edges[:, 2 * axis, None]) & (places < view.edges[:, 2 * axis + 1, None])
    weights = weigh_pixels(view.start[:, axis] * size, view.pitch[:, axis] * size, size, WINDOW)
    return weights * tf.cast(is_inside, tf.float32)[:, None, :]


def _weigh_nearest(start: Any, pitch: Any, first: Any, last: Any) -> Any:
    """Weights of a grid's cells, ``float32 [N,64,32]``, at the places of a window's pixels or the nearest inside."""
    places = start[:, None] + (tf.range(WINDOW, dtype=tf.float32) + 0.5) * pitch[:, None]
    places = tf.clip_by_value(places, first[:, None] + 0.5 / GRID, last[:, None] - 0.5 / GRID) * GRID
    return tf.maximum(1.0 - tf.abs(places[:, :, None] - (tf.range(GRID, dtype=tf.float32) + 0.5)), 0.0)


def _find_edges(found: Found) -> Any:
    """Where pictures begin and end behind their frames."""
    least = tf.reduce_max(found.strength, axis=(1, 2))[:, None] * _FRAME
    sides = []
    for axis in (2, 1):
        level = tf.reduce_mean(found.background, axis=axis)
        for ends in (level[:, :_WIDEST], level[:, : -_WIDEST - 1 : -1]):
            is_frame = tf.math.cumprod(tf.cast(ends > least, tf.float32), axis=1)
            count = tf.reduce_sum(is_frame, axis=1)
            sides.append(tf.where((count > 0) & (count < _WIDEST), count + 0.5, 0.0) / GRID)
    top, foot, left, right = sides
    return tf.stack([top, 1.0 - foot, left, 1.0 - right], axis=1)


def place_ink(windows: Any, view: View, kind: ImageInput) -> Any:
    """Windows ``float32 [N,64,64]`` -> ``float32 [N,height,width,1]``."""
    found = find_ink(_reduce(windows[..., None])[..., 0], view.colours)
    reach = tf.cast(pool_mass(found.strength) > 0, tf.float32)
    enlarge = weigh_pixels(tf.zeros(1), tf.fill([1], GRID / WINDOW), GRID, WINDOW)
    background, gain, mask = (resample(grid, enlarge, enlarge) for grid in (found.background, found.gain, reach))
    ink = tf.maximum(windows - background, 0.0) * gain * mask
    image = _stretch(_centre(ink, kind))
    return tf.round(tf.where((found.is_blank | view.colours.is_light)[:, None, None], 0.0, image))[..., None]


def _reduce(pictures: Any) -> Any:
    """``float32 [N,32,32,C]``."""
    size = pictures.shape[1]
    weights = weigh_pixels(tf.zeros(1), tf.fill([1], size / GRID), size, GRID)
    weights = weights / tf.reduce_sum(weights, axis=2, keepdims=True)
    planes = tf.unstack(pictures, axis=-1)
    return tf.stack([smooth(resample(plane, weights, weights), SMOOTHING) for plane in planes], axis=-1)


def _measure_extent(strength: Any) -> Any:
    """First and last place of ink along rows and columns, ``float32 [N,4]``: top, bottom, left, right, in 0..S."""
    size = strength.shape[1]
    ends = []
    for axis in (2, 1):
        profile = tf.reduce_sum(strength, axis=axis)
        total = tf.cumsum(profile, axis=1) / (tf.reduce_sum(profile, axis=1, keepdims=True) + 1e-6)
        first = tf.reduce_sum(tf.cast(total < _TAIL, tf.float32), axis=1)
        last = size - tf.reduce_sum(tf.cast(total > 1 - _TAIL, tf.float32), axis=1) + 1
        ends += [first, tf.minimum(last, float(size))]
    return tf.stack(ends, axis=1)


def _centre(ink: Any, kind: ImageInput) -> Any:
    """``float32 [N,64,64]`` -> ``float32 [N,height,width]``: one length of its longer side, its mass in the middle."""
    assert kind.ink
    size = ink.shape[1]
    smoothed = smooth(ink, (0.0625, 0.25, 0.375, 0.25, 0.0625))
    kept = keep_coherent(smoothed, mean_top(smoothed, _STRONGEST))
    box = _measure_extent(kept)
    ink = ink * tf.cast(pool_mass(kept) > 0, tf.float32)
    step = tf.maximum(tf.maximum(box[:, 1] - box[:, 0], box[:, 3] - box[:, 2]), 1.0) * _FEATHER / kind.ink.size
    mass = tf.reduce_sum(ink, axis=(1, 2)) + 1e-6
    places = tf.range(size, dtype=tf.float32) + 0.5
    row, column = (tf.reduce_sum(tf.reduce_sum(ink, axis=axis) * places, axis=1) / mass for axis in (2, 1))
    rows = weigh_pixels(row - step * kind.height / 2, step, size, kind.height)
    columns = weigh_pixels(column - step * kind.width / 2, step, size, kind.width)
    return resample(ink, rows, columns)


def _stretch(image: Any) -> Any:
    top = mean_top(image, _STRONGEST)[:, None, None]
    return tf.clip_by_value(image / (top + 1e-6), 0.0, 1.0) * 255
