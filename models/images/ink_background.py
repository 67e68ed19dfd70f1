"""What a drawing's surroundings are: paper, shadows, frames and ruled lines, all of which are joined with the border.

A greyscale reconstruction (Vincent 1993) floods from the border inwards: the level of a cell is the highest at which it
can be reached. Strokes stand above it, however thick or faint they are.
"""

from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from modelyard.models.images.apart import keep_apart

GRID = 32
"""Cells of the coarse grid along each side."""
RIM = 3
"""Cells at the border in which all that is flooded stays background, however narrow."""
_STRETCH = 15
"""Cells along the border: a shorter stretch that differs is a stroke that reaches it, a longer one frame or shadow."""
_DOUBLINGS = (1, 2, 4, 7)
"""What windows of one cell grow by, up to a stretch."""
_STEPS = 17
"""Cells from the border to the middle, and one."""
_BRIDGE = 3
"""Half the width of what is a bridge of background along a stroke."""
_LINE_SHARE = 0.8
"""Share of a row, or column, that a ruled line covers at least."""
_NOTHING = -1e4


@keep_apart
def find_background(values: Any) -> Any:
    """The background of ``values`` ``float32 [N,32,32]``, in which ink is high: what is joined with the border.

    But for bridges: along a stroke that goes from a shadow into the light, the shadow is joined with the light.
    """
    rows, columns = (_find_lines(images) for images in (values, tf.transpose(values, (0, 2, 1))))
    background = _flood(values, _mark_border(values, rows, columns))
    lines = tf.maximum(tf.maximum(rows[:, :, None], columns[:, None, :]), _AT_RIM)
    return tf.maximum(_open(background), tf.minimum(background, lines))


def _flood(values: Any, marker: Any) -> Any:
    """``float32 [N,S,S]``: greyscale reconstruction (Vincent 1993) of ``marker`` under ``values``."""
    level = marker
    for _ in range(_STEPS):
        level = _flood_once(level, values)
    return level


def _open(images: Any) -> Any:
    """Without what is narrower than seven cells."""
    for sign in (-1.0, 1.0):
        images = sign * images
        for axis in (1, 2):
            for _ in range(_BRIDGE):
                images = _spread(images, axis)
        images = sign * images
    return images


@partial(tf.function, autograph=False)
def _flood_once(level: Any, values: Any) -> Any:
    return tf.minimum(_spread(_spread(level, 1), 2), values)


def _spread(images: Any, axis: int) -> Any:
    """The largest of three neighbours along an axis."""
    pads = [(0, 0), (0, 0), (0, 0)]
    pads[axis] = (1, 1)
    padded = tf.pad(images, pads, constant_values=_NOTHING)
    if axis == 1:
        return tf.maximum(tf.maximum(padded[:, :-2], padded[:, 2:]), images)
    return tf.maximum(tf.maximum(padded[:, :, :-2], padded[:, :, 2:]), images)


def _mark_border(values: Any, rows: Any, columns: Any) -> Any:
    """``float32 [N,32,32]``: levels of the border, but for short stretches of it that are no ruled lines."""
    ring = tf.gather(tf.reshape(values, (-1, GRID * GRID)), BORDER, axis=1)
    opened = -_least_of_stretches(-_least_of_stretches(ring))
    sides = tf.concat([rows, columns], axis=1)
    ends = tf.minimum(ring, tf.gather(sides, _SIDES, axis=1))
    level = tf.concat([tf.maximum(opened, ends), tf.fill([tf.shape(values)[0], 1], _NOTHING)], axis=1)
    return tf.reshape(tf.gather(level, _FROM_BORDER, axis=1), (-1, GRID, GRID))


def _least_of_stretches(ring: Any) -> Any:
    """``float32 [N,B]`` around a ring: the least of the 15 about each, by doubling."""
    reach = _STRETCH // 2
    least = tf.concat([ring[:, -reach:], ring, ring[:, :reach]], axis=1)
    for step in _DOUBLINGS:
        least = tf.minimum(least[:, :-step], least[:, step:])
    return least


def _find_lines(values: Any) -> Any:
    """``float32 [N,32]``: the level that four fifths of each row reach."""
    return -tf.math.top_k(-values, GRID - round(GRID * _LINE_SHARE) + 1).values[..., -1]  # of few, top_k is faster


def _walk_border() -> tuple[Any, Any]:
    """Places of the cells around the border in a flat grid; and their rows, or 32 + their columns at top and foot."""
    last = GRID - 1
    top, right = [(0, k) for k in range(last)], [(k, last) for k in range(last)]
    foot, left = [(last, last - k) for k in range(last)], [(last - k, 0) for k in range(last)]
    places = [*top, *right, *foot, *left]
    sides = [GRID + column if row in (0, last) else row for row, column in places]
    return np.array([row * GRID + column for row, column in places]), np.array(sides)


BORDER, _SIDES = _walk_border()
_FROM_BORDER = np.full(GRID * GRID, len(BORDER))
_FROM_BORDER[BORDER] = np.arange(len(BORDER))
_AT_RIM = np.full((GRID, GRID), _NOTHING, np.float32)
_AT_RIM[:RIM] = _AT_RIM[-RIM:] = _AT_RIM[:, :RIM] = _AT_RIM[:, -RIM:] = -_NOTHING
