"""Images of a batch moved, turned, scaled and bent at random, to train on; by numpy, as fast as a gather is."""

from collections.abc import Callable
from functools import cache

import numpy as np

from modelyard.models.types import Array

Change = Callable[[Array, np.random.Generator], Array]
"""``(images [B,...], randomness)`` -> images changed, of the same shape."""

_BUMP = 4
"""Pixels: standard deviation of a bump of displacement, and distance to the next."""


def shift_images(x: Array, generator: np.random.Generator, *, pixels: int) -> Array:
    """``x`` ``[B,H,W,1]``, each image moved by up to ``pixels`` whole pixels in both directions; black moves in."""
    count, height, width, _ = x.shape
    padded = np.pad(x, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded[..., 0], (height, width), axis=(1, 2))
    top, left = generator.integers(0, 2 * pixels + 1, (2, count))
    return windows[np.arange(count), top, left, :, :, None]


def transform_images(
    x: Array,
    generator: np.random.Generator,
    *,
    shift: float,
    rotation: float,
    scale: float,
    growth: float = 0.0,
    elastic: float = 0.0,
) -> Array:
    """``x`` ``[B,H,W,1]``, each image moved, turned, scaled and bent at random -> ``float32``, bilinear.

    ``shift`` is in pixels, ``rotation`` in degrees, ``scale`` a share; each drawn evenly from ``-limit..limit``.
    ``elastic`` is the standard deviation of smooth displacements in pixels, for each image drawn evenly from
    ``0..limit`` (Simard et al. 2003). What comes in from outside is black.
    """
    count, height, width, _ = x.shape
    limits = np.array([shift, shift, np.radians(rotation), scale], np.float32)[:, None, None]
    down, right, angle, grown = limits * generator.uniform(-1, 1, (4, count, 1)).astype(np.float32)
    grown += 1 + growth
    cos, sin = np.cos(angle) / grown, np.sin(angle) / grown
    row, column = np.indices((height, width), np.float32).reshape(2, 1, -1)
    middle_row, middle_column = (height - 1) / 2, (width - 1) / 2
    row, column = row - middle_row, column - middle_column
    source_rows = cos * row - sin * column - down + middle_row
    source_columns = sin * row + cos * column - right + middle_column
    if elastic:
        bent = _bend(generator, (count, height, width), elastic)
        source_rows, source_columns = source_rows + bent[0], source_columns + bent[1]
    return _bilinear(x[..., 0], source_rows, source_columns).reshape(x.shape)


def change_some(
    x: Array, generator: np.random.Generator, *, move: Change | None, change: Change, share: float
) -> Array:
    """``float32`` of the shape of ``x`` ``[B,...]``: a share of the images, at random, changed, the others moved."""
    moved = np.array(move(x, generator) if move else x, np.float32)
    chosen = np.flatnonzero(generator.random(len(x)) < share)
    if len(chosen):
        moved[chosen] = change(x[chosen], generator)
    return moved


def _bend(generator: np.random.Generator, shape: tuple[int, int, int], limit: float) -> Array:
    """Smooth displacements of each pixel down and to the right, ``float32 [2,B,H*W]``."""
    count, height, width = shape
    rows, columns = (_weigh_bumps(size) for size in (height, width))
    bumps = generator.standard_normal((2, count, rows.shape[1], columns.shape[1]), np.float32)
    bumps *= limit * generator.random((count, 1, 1), np.float32)
    bent: Array = rows @ bumps @ columns.T
    return bent.reshape(2, count, -1)


@cache
def _weigh_bumps(size: int) -> Array:
    """``float32 [size,bumps]``: Gaussians every four pixels; squares add up to 1 at each pixel."""
    distances = np.arange(size)[:, None] - np.arange(0, size + _BUMP, _BUMP)
    weights = np.exp(-(distances**2) / (2 * _BUMP**2))
    scaled: Array = (weights / np.linalg.norm(weights, axis=1, keepdims=True)).astype(np.float32)
    return scaled


def _bilinear(images: Array, rows: Array, columns: Array) -> Array:
    """``float32 [B,P]``: values of ``images`` ``[B,H,W]`` at the fractional positions ``[B,P]``."""
    count, height, width = images.shape
    stride = width + 2
    padded = np.zeros((count, height + 2, stride), np.float32)
    padded[:, 1:-1, 1:-1] = images
    rows, columns = np.clip(rows + 1, 0, height + 0.999), np.clip(columns + 1, 0, width + 0.999)
    top, left = np.floor(rows), np.floor(columns)
    below, beside = rows - top, columns - left
    corner = (top * stride + left).astype(np.int32) + np.arange(count, dtype=np.int32)[:, None] * padded[0].size
    flat = padded.ravel()
    upper_left, lower_left = flat[corner], flat[corner + stride]
    upper = upper_left + beside * (flat[corner + 1] - upper_left)
    lower = lower_left + beside * (flat[corner + stride + 1] - lower_left)
    result: Array = upper + below * (lower - upper)
    return result
