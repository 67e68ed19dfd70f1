"""Single pixels that differ from all around them, taken out of small pictures: dust, and a scanner's salt and pepper.

In a picture of a few dozen pixels a speck is as large as a stroke is wide, and smoothing smears it. In a larger one it
is averaged away as the picture is made smaller.
"""

from typing import Any

import tensorflow as tf

LARGEST = 64
"""Pixels of a side up to which specks are looked for."""
_LEVELS = 64.0
"""By how much of 255 a speck lies outside of what is around it."""
_SHARE = 0.01
"""Of the pixels; fewer specks are ends of strokes, and stay."""
_AROUND = tuple((down, right) for down in (0, 1, 2) for right in (0, 1, 2) if (down, right) != (1, 1))


def clear_specks(pictures: Any) -> Any:
    """``float32 [N,H,W,C]``, 0..255: specks become as light as the second lightest neighbour, or as dark.

    The second: so two specks side by side go, but a line of one pixel stays, where each pixel has two neighbours. A
    picture with few specks is left as it is. Every picture by itself: comparisons alone, whatever the batch.
    """
    upper, lower = _find_second(pictures), -_find_second(-pictures)
    cleared = tf.clip_by_value(pictures, lower, upper)
    is_speck = tf.abs(pictures - cleared) > _LEVELS
    share = tf.reduce_mean(tf.cast(is_speck, tf.float32), axis=(1, 2), keepdims=True)
    return tf.where(is_speck & (share > _SHARE), cleared, pictures)


def _find_second(pictures: Any) -> Any:
    """The second largest of the eight neighbours of each pixel; beyond the border its pixels are repeated."""
    height, width = tf.shape(pictures)[1], tf.shape(pictures)[2]
    padded = tf.pad(pictures, [(0, 0), (1, 1), (1, 1), (0, 0)], mode="SYMMETRIC")
    first = second = tf.fill(tf.shape(pictures), -1e4)
    for down, right in _AROUND:
        other = padded[:, down : down + height, right : right + width]
        second = tf.maximum(second, tf.minimum(first, other))
        first = tf.maximum(first, other)
    return second
