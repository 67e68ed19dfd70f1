"""Pictures of a batch resampled, each about a window of its own, by products of matrices."""

from typing import Any

import tensorflow as tf


def weigh_pixels(start: Any, step: Any, size: int, count: int) -> Any:
    """Weights of source pixels in each of ``count`` samples along one axis, ``float32 [N,count,size]``.

    A triangle (linear interpolation), as wide as the step where that is more than a pixel. What lies outside of the
    source counts as nought.

    Args:
        start: ``float32 [N]``: where the first sample begins, in source pixels.
        step: ``float32 [N]``: source pixels from a sample to the next.
    """
    centres = start[:, None] + (tf.range(count, dtype=tf.float32) + 0.5) * step[:, None]
    width = tf.maximum(step, 1.0)[:, None, None]
    distances = tf.abs(centres[:, :, None] - (tf.range(size, dtype=tf.float32) + 0.5))
    return tf.maximum(1.0 - distances / width, 0.0) / width


def resample(images: Any, rows: Any, columns: Any) -> Any:
    """``float32 [N,H,W]`` by the weights of rows ``[N,h,H]`` and columns ``[N,w,W]`` -> ``float32 [N,h,w]``."""
    return tf.matmul(rows, tf.matmul(images, columns, transpose_b=True))


def smooth(images: Any, kernel: tuple[float, ...]) -> Any:
    """``float32 [N,S,S]`` weighed along both axes by a symmetric kernel; edges are repeated."""
    size = images.shape[1]
    band = tf.constant(_make_band(size, kernel), tf.float32)
    return tf.matmul(tf.matmul(band, images), band, transpose_b=True)


def _make_band(size: int, kernel: tuple[float, ...]) -> list[list[float]]:
    reach = len(kernel) // 2
    rows = [[0.0] * size for _ in range(size)]
    for row in range(size):
        for place, weight in enumerate(kernel):
            rows[row][min(max(row + place - reach, 0), size - 1)] += weight
    return rows
