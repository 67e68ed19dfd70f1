"""Drawn strokes normalised: found, cut out with their surroundings, and put in the middle, all of one size."""

from typing import Any

import tensorflow as tf

from modelyard.models.images.ink_finding import GRID, SMOOTHING, Found, find_ink, keep_coherent
from modelyard.models.images.ink_resampling import resample, smooth, weigh_pixels
from modelyard.models.inputs import ImageInput

WINDOW = 64
"""Pixels of the square about the ink that is looked at closely."""
_SURROUNDINGS = 1.6
_MARGIN = 3.0
_FRAME = 0.3
_WIDEST = 4
TRIM=1
_REACH = 2
_LEAST = 0.3


def locate_ink(pictures: Any, sizes: Any) -> tuple[Any, Any, Any]:
    """Where to look closely: the window's first row and column, its pixels' height and width, and the paper's colour.

    All in pixels of ``pictures``.

    Args:
        pictures: ``float32 [N,S,S,C]``, 0..255, stretched to a square.
        sizes: ``float32 [N,2]``: their heights and widths before that.
    """
    found = find_ink(_reduce(pictures))
    scale = pictures.shape[1] / GRID
    ends = (_measure_extent(found.strength) + [-_MARGIN / 2, _MARGIN / 2, -_MARGIN / 2, _MARGIN / 2]) * scale
    first, last = ends[:, ::2], ends[:, 1::2]
    side = tf.reduce_max((last - first) * sizes, axis=1, keepdims=True) * _SURROUNDINGS
    pitch = side / WINDOW / sizes
    return (first + last) / 2 - pitch * WINDOW / 2, pitch, found.paper, _measure_frame(found) * scale


def _measure_frame(found: Found) -> Any:
    """Cells of a frame at each side, ``float32 [N,4]``: top, foot, left, right."""
    top = tf.reduce_max(found.strength, axis=(1, 2))[:, None] * _FRAME
    sides = []
    for axis in (2, 1):
        level = tf.reduce_mean(found.background, axis=axis)
        for ends in (level[:, :_WIDEST], level[:, : -_WIDEST - 1 : -1]):
            is_frame = tf.math.cumprod(tf.cast(ends > top, tf.float32), axis=1)
            count = tf.reduce_sum(is_frame, axis=1)
            sides.append(tf.where((count > 0) & (count < _WIDEST), count + 0.5, 0.0))
    return tf.stack(sides, axis=1)


def cut_windows(pictures: Any, start: Any, pitch: Any, paper: Any, frame: Any) -> Any:
    """``float32 [N,64,64,C]``; what lies outside of a picture is paper."""
    size = pictures.shape[1]
    places = tf.range(size, dtype=tf.float32) + 0.5
    rows, columns = (
        weigh_pixels(start[:, axis], pitch[:, axis], size, WINDOW)
        * tf.cast(
            (places > frame[:, None, 2 * axis, None]) & (places < size - frame[:, None, 2 * axis + 1, None]), tf.float32
        )
        for axis in (0, 1)
    )
    planes = [
        resample(pictures[..., channel] - paper[:, None, None, channel], rows, columns)
        for channel in range(pictures.shape[3])
    ]
    return tf.stack(planes, axis=-1) + paper[:, None, None]


def place_ink(windows: Any, kind: ImageInput) -> Any:
    """Windows about ink ``float32 [N,64,64,C]`` -> ``float32 [N,height,width,1]``: light on black, whole numbers."""
    found = find_ink(_reduce(windows))
    values = tf.reduce_sum((windows - found.paper[:, None, None]) * found.direction[:, None, None], axis=-1)
    reach = tf.cast(_dilate(found.strength, 2 * _REACH + 1) > 0, tf.float32)
    enlarge = weigh_pixels(tf.zeros(1), tf.fill([1], GRID / WINDOW), GRID, WINDOW)
    background, mask = (resample(grid, enlarge, enlarge) for grid in (found.background, reach))
    ink = tf.maximum(values - background, 0.0) * mask
    image = _stretch(_centre(ink, kind))
    return tf.round(tf.where(found.is_blank[:, None, None], 0.0, image))[..., None]


def normalise_ink(pictures: Any, sizes: Any, kind: ImageInput) -> Any:
    """Both steps on what there is of the pictures."""
    return place_ink(cut_windows(pictures, *locate_ink(pictures, sizes)), kind)


def _reduce(pictures: Any) -> Any:
    """``float32 [N,32,32,C]``."""
    size, channels = pictures.shape[1], pictures.shape[3]
    weights = weigh_pixels(tf.zeros(1), tf.fill([1], size / GRID), size, GRID)
    weights = weights / tf.reduce_sum(weights, axis=2, keepdims=True)
    planes = [smooth(resample(pictures[..., c], weights, weights), SMOOTHING) for c in range(channels)]
    return tf.stack(planes, axis=-1)


def _measure_extent(strength: Any) -> Any:
    """First and last place of ink along rows and columns, ``float32 [N,4]``: top, bottom, left, right, in 0..S."""
    size = strength.shape[1]
    ends = []
    for axis in (2, 1):
        profile = tf.reduce_sum(strength, axis=axis)
        total = tf.cumsum(profile, axis=1) / (tf.reduce_sum(profile, axis=1, keepdims=True) + 1e-6)
        first = tf.reduce_sum(tf.cast(total < 0.004, tf.float32), axis=1)
        last = size - tf.reduce_sum(tf.cast(total > 0.996, tf.float32), axis=1) + 1
        ends += [first, tf.minimum(last, float(size))]
    return tf.stack(ends, axis=1)


def _dilate(images: Any, side: int) -> Any:
    return tf.nn.max_pool2d(images[..., None], side, 1, "SAME")[..., 0]


def _centre(ink: Any, kind: ImageInput) -> Any:
    """``float32 [N,64,64]`` -> ``float32 [N,height,width]``: its longer side of a set length, its mass in the middle."""
    size = ink.shape[1]
    smoothed = smooth(ink, (0.0625, 0.25, 0.375, 0.25, 0.0625))
    kept = keep_coherent(smoothed, _LEAST * mean_top(smoothed, 40))
    box = _measure_extent(kept)
    ink = ink * tf.cast(_dilate(kept, 5) > 0, tf.float32)
    step = tf.maximum(tf.maximum(box[:, 1] - box[:, 0], box[:, 3] - box[:, 2]), 1.0) / kind.ink.size
    mass = tf.reduce_sum(ink, axis=(1, 2)) + 1e-6
    places = tf.range(size, dtype=tf.float32) + 0.5
    row, column = (tf.reduce_sum(tf.reduce_sum(ink, axis=axis) * places, axis=1) / mass for axis in (2, 1))
    rows = weigh_pixels(row - step * kind.height / 2, step, size, kind.height)
    columns = weigh_pixels(column - step * kind.width / 2, step, size, kind.width)
    return resample(ink, rows, columns)


def mean_top(images: Any, count: int) -> Any:
    flat = tf.reshape(images, (-1, images.shape[1] * images.shape[2]))
    return tf.reduce_mean(tf.math.top_k(flat, count, sorted=False).values, axis=1)


def _stretch(image: Any) -> Any:
    top = mean_top(image, 40)[:, None, None]
    return tf.clip_by_value(image / (top + 1e-6), 0.0, 1.0) * 255
