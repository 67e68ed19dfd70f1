"""Copies of drawn strokes as people might send them, to train on: turned, moved, with other pens, noise and blur."""

import math
from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import numpy as np

from modelyard.models.inputs import ImageInput
from modelyard.models.types import Array

Nib = Sequence[tuple[int, int]]
"""Which neighbours of a pixel a pen reaches, as steps down and to the right."""

_BATCH = 256
_ACROSS, _DOWN = ((0, -1), (0, 1)), ((-1, 0), (1, 0))
_RISING, _FALLING = ((-1, 1), (1, -1)), ((-1, -1), (1, 1))
_ROUND, _SQUARE = (*_ACROSS, *_DOWN), (*_ACROSS, *_DOWN, *_RISING, *_FALLING)
_NIBS: Sequence[Nib] = (*(_SQUARE,) * 6, _ROUND, _ROUND, _ACROSS, _DOWN, _RISING, _FALLING)
"""Half of them are square, which change strokes most; flat ones are rarest."""
_NARROWER, _WIDER = 1.6, 2.4
"""Pixels."""
_STRONGEST = 40
"""Pixels that say how strong ink is."""


def normalise_strokes(images: Array, kind: ImageInput) -> Array:
    """``uint8 [N,H,W,1]`` -> ``uint8 [N,height,width,1]``, as the exported graph normalises files of such pictures."""
    import tensorflow as tf

    normalise = _compile(kind, images.shape[1:])
    parts = range(0, len(images), _BATCH)
    with tf.device("CPU"):
        found = [normalise(tf.constant(images[first : first + _BATCH])).numpy() for first in parts]
    return np.concatenate(found).astype(np.uint8)


@cache
def _compile(kind: ImageInput, shape: tuple[int, ...]) -> Any:
    import tensorflow as tf

    from modelyard.models.images.ink_placing import normalise_ink
    from modelyard.models.images.ink_specks import LARGEST, clear_specks

    def normalise(images: Any) -> Any:
        sizes = tf.fill((tf.shape(images)[0], 2), float(shape[0]))
        pictures = tf.cast(images, tf.float32)
        return normalise_ink(clear_specks(pictures) if max(shape) <= LARGEST else pictures, sizes, kind)

    return tf.function(normalise, input_signature=[tf.TensorSpec((None, *shape), tf.uint8)], autograph=False)


def change_pens(images: Array, generator: np.random.Generator) -> Array:
    """``float32 [N,H,W,1]``, strokes up to 1.6 pixels narrower or 2.4 wider, by nibs of several shapes.

    Ink is as strong as before. Half of what is narrowed stays whole: where a stroke would vanish, its middle is kept.
    """
    rows, columns = (_double(size) for size in images.shape[1:3])
    drawn = rows @ images[..., 0] @ columns.T
    widths = generator.uniform(-_NARROWER, _WIDER, len(drawn)).astype(np.float32)
    nibs = generator.integers(len(_NIBS), size=len(drawn))
    whole = generator.random(len(drawn)) < 1 / 2
    for number, nib in enumerate(_NIBS):
        for chosen, change in (
            (widths >= 0, _widen),
            ((widths < 0) & whole, partial(_narrow, keep_whole=True)),
            ((widths < 0) & ~whole, partial(_narrow, keep_whole=False)),
        ):
            members = np.flatnonzero(chosen & (nibs == number))
            if len(members):
                drawn[members] = change(drawn[members], np.abs(widths[members]), nib)
    return _strengthen(np.clip(rows.T @ drawn @ columns / 4, 0, 255), images[..., 0])[..., None]


def _widen(images: Array, widths: Array, nib: Nib) -> Array:
    """``float32 [N,H,W]``, strokes so many half pixels wider on each side."""
    for step in range(math.ceil(widths.max(initial=0))):
        share = np.clip(widths - step, 0, 1)[:, None, None]
        images = images + share * (_spread(images, nib) - images)
    return images


def _narrow(images: Array, widths: Array, nib: Nib, *, keep_whole: bool) -> Array:
    """The same, narrower. What opening takes away is what would vanish: thin strokes (Serra 1982, top-hat)."""
    for step in range(math.ceil(widths.max(initial=0))):
        share = np.clip(widths - step, 0, 1)[:, None, None]
        narrower = -_spread(-images, nib)
        changed = images + share * (narrower - images)
        images = np.maximum(changed, images - _spread(narrower, nib)) if keep_whole else changed
    return images


def _spread(images: Array, nib: Nib) -> Array:
    """``float32 [N,H,W]``: the largest under a nib that is put on each pixel."""
    _, height, width = images.shape
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)), mode="edge")
    spread = images
    for down, right in nib:
        spread = np.maximum(spread, padded[:, 1 + down : 1 + down + height, 1 + right : 1 + right + width])
    return spread


def _strengthen(images: Array, models: Array) -> Array:
    """``float32 [N,H,W]``: ink as strong as the models' is, thrice as strong as it was at most."""
    gain = np.minimum(_find_strength(models) / np.maximum(_find_strength(images), 1), 3)
    strengthened: Array = np.clip(images * gain[:, None, None], 0, 255)
    return strengthened


def _find_strength(images: Array) -> Array:
    """``float32 [N]``: the mean of the strongest pixels."""
    pixels = images.reshape(len(images), math.prod(images.shape[1:]))
    first = max(pixels.shape[1] - _STRONGEST, 0)
    strength: Array = np.partition(pixels, first)[:, first:].mean(axis=1)
    return strength


@cache
def _double(size: int) -> Array:
    """``float32 [2*size,size]``: weights of pixels in twice as many (Keys 1981, cubic convolution)."""
    places = (np.arange(2 * size)[:, None] + 0.5) / 2 - 0.5
    distances = np.minimum(np.abs(places - np.arange(size)), 2)
    near = (1.5 * distances - 2.5) * distances**2 + 1
    far = ((-0.5 * distances + 2.5) * distances - 4) * distances + 2
    weights: Array = np.where(distances <= 1, near, far).astype(np.float32)
    return weights


def blur_images(images: Array, generator: np.random.Generator, *, most: float) -> Array:
    """``float32 [N,H,W,1]`` under a Gaussian of up to ``most`` pixels."""
    size = images.shape[1]
    deviation = generator.uniform(0.3, most, (len(images), 1, 1))
    places = np.arange(size)
    weights = np.exp(-((places[:, None] - places) ** 2) / (2 * deviation**2))
    weights = (weights / weights.sum(axis=2, keepdims=True)).astype(np.float32)
    blurred: Array = (weights @ images[..., 0] @ weights.transpose(0, 2, 1))[..., None]
    return blurred


def add_noise(images: Array, generator: np.random.Generator, *, most: float) -> Array:
    """``float32 [N,H,W,1]`` with normal noise of a standard deviation of up to ``most`` levels."""
    deviation = generator.uniform(0, most, (len(images), 1, 1, 1)).astype(np.float32)
    noisy: Array = np.clip(images + deviation * generator.standard_normal(images.shape, np.float32), 0, 255)
    return noisy


def add_specks(images: Array, generator: np.random.Generator, *, most: float) -> Array:
    """``float32 [N,H,W,1]``, up to a share ``most`` of the pixels all white or all black."""
    share = generator.uniform(0, most / 2, (len(images), 1, 1, 1)).astype(np.float32)
    drawn = generator.random(images.shape, np.float32)
    specked: Array = np.where(drawn < share, 0, np.where(drawn > 1 - share, 255, images)).astype(np.float32)
    return specked
