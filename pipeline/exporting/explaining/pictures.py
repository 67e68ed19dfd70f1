"""A weight for each pixel: integrated gradients; where a model has no gradient, tiles are taken out instead.

Integrated gradients follow the score along the straight line from a blank picture to this one (Sundararajan, Taly & Yan
2017), so that their sum is the difference of both scores. One picture costs as many runs as there are steps, whatever
its size, and each run goes forward and backward.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from modelyard.models.inputs import ImageInput
from modelyard.pipeline.exporting.explaining.removal import measure_drop

STEPS = 16
TILES = 14
"""Of a side, at most."""
CHUNK_NUMBERS = 1 << 18
"""Numbers in the pictures of one run, at most, but for a single large one."""

Score = Callable[[Any], Any]
"""``float32 [M,H,W,C]`` -> ``float32 [M]``."""


def weigh_pixels(score: Score, base: Any, image: Any, colour: Any, kind: ImageInput) -> Any:
    """``float32 [H,W]``: what each pixel adds to the score.

    Args:
        base: the picture's score, ``[]``.
        image: ``float32 [H,W,C]``.
        colour: of a blank picture, ``float32 [C]``.
    """
    found = integrate_gradients(score, image, colour, chunk_size(kind))
    return weigh_tiles(score, base, image, colour, kind) if found is None else found


def chunk_size(kind: ImageInput) -> int:
    """Pictures in one run: a power of 2 up to all steps."""
    fitting = max(1, CHUNK_NUMBERS // (kind.height * kind.width * kind.channels))
    return min(STEPS, 1 << (fitting.bit_length() - 1))


def integrate_gradients(score: Score, image: Any, colour: Any, size: int) -> Any:
    """``float32 [H,W]``; None if the score has no gradient."""
    shares = tf.reshape((tf.range(STEPS, dtype=tf.float32) + 0.5) / STEPS, [STEPS // size, size])
    slopes = []

    def sum_slopes(share: Any) -> Any:
        between = colour + share[:, None, None, None] * (image - colour)
        slopes.append(find_slope(score, between))
        return tf.zeros_like(image) if slopes[-1] is None else tf.reduce_sum(slopes[-1], axis=0)

    if size == STEPS:
        total = sum_slopes(shares[0])
    else:
        parts = tf.map_fn(sum_slopes, shares, fn_output_signature=tf.float32, parallel_iterations=1)
        total = tf.reduce_sum(parts, axis=0)
    return None if slopes[0] is None else tf.reduce_sum((image - colour) * total / STEPS, axis=-1)


def find_slope(score: Score, images: Any) -> Any:
    """The gradient of the scores by the pixels; None if there is none, as behind rounding or a look-up."""
    with tf.GradientTape() as tape:
        tape.watch(images)
        found = score(images)
    try:
        return tape.gradient(found, images)
    except LookupError:  # an operation without a gradient
        return None


def weigh_tiles(score: Score, base: Any, image: Any, colour: Any, kind: ImageInput) -> Any:
    """``float32 [H,W]``: each pixel's share of what its tile accounts for."""
    high, wide = -(-kind.height // TILES), -(-kind.width // TILES)
    columns = -(-kind.width // wide)
    tiles = tf.range(kind.height)[:, None] // high * columns + tf.range(kind.width)[None] // wide
    count = -(-kind.height // high) * columns

    def run(tile: Any, _: Any) -> Any:
        is_out = tf.equal(tiles, tile[:, None, None])[..., None]
        return score(tf.where(is_out, colour, image))

    drops = measure_drop(base, run, count, 1, chunk_size(kind))
    return tf.gather(drops / tf.cast(high * wide, tf.float32), tiles)
