"""Copies of drawn strokes as people might send them, to train on: turned, moved, with other pens, noise and blur."""

from functools import cache
from typing import Any

import numpy as np

from modelyard.models.inputs import ImageInput
from modelyard.models.types import Array

_BATCH = 256


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

    def normalise(images: Any) -> Any:
        sizes = tf.fill((tf.shape(images)[0], 2), float(shape[0]))
        return normalise_ink(tf.cast(images, tf.float32), sizes, kind)

    return tf.function(normalise, input_signature=[tf.TensorSpec((None, *shape), tf.uint8)], autograph=False)


def change_pens(images: Array, generator: np.random.Generator) -> Array:
    """``float32 [N,H,W,1]``, strokes up to a pixel narrower or a little more than one wider."""
    wider, narrower = _spread(images), -_spread(-images, cross=True)
    share = generator.uniform(-1.0, 1.2, (len(images), 1, 1, 1)).astype(np.float32)
    widest = images + np.clip(share, 0, 1) * (wider - images)
    widest += np.clip(share - 1, 0, 1) * (_spread(wider) - wider)
    changed: Array = np.where(share > 0, widest, images - share * (narrower - images))
    return changed


def _spread(images: Array, *, cross: bool = False) -> Array:
    """The largest of the neighbours, of all eight or of the four beside."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    down = np.maximum(np.maximum(padded[:, :-2], padded[:, 2:]), padded[:, 1:-1])
    if not cross:
        wide: Array = np.maximum(np.maximum(down[:, :, :-2], down[:, :, 2:]), down[:, :, 1:-1])
        return wide
    across = np.maximum(padded[:, 1:-1, :-2], padded[:, 1:-1, 2:])
    crossed: Array = np.maximum(down[:, :, 1:-1], across)
    return crossed


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
