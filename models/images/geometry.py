"""Images turned and resized, by stock TensorFlow operations."""

from typing import Any

import tensorflow as tf

from modelyard.models.inputs import Resize

_TRANSPOSED, _UPSIDE_DOWN, _MIRRORED = (5, 6, 7, 8), (3, 4, 7, 8), (2, 3, 6, 7)
"""EXIF orientations by what undoes them, in this order: rows and columns exchanged, rows and columns reversed."""
_RGBA = 4


def is_transposed(orientation: Any) -> Any:
    """``bool []``: whether rows are stored as columns, by the EXIF orientation ``int32 []``."""
    return _is_one_of(orientation, _TRANSPOSED)


def turn_upright(image: Any, orientation: Any) -> Any:
    """``[H,W,C]`` as stored -> as meant, by its EXIF orientation ``int32 []``, 1 to 8 (EXIF 2.3, 4.6.4 A)."""
    turned = tf.cond(is_transposed(orientation), lambda: tf.transpose(image, (1, 0, 2)), lambda: image)
    dims = [_is_one_of(orientation, _UPSIDE_DOWN), _is_one_of(orientation, _MIRRORED), False]
    return tf.raw_ops.Reverse(tensor=turned, dims=dims)


def _is_one_of(orientation: Any, some: tuple[int, ...]) -> Any:
    return tf.reduce_any(tf.equal(orientation, some))


def resize_image(image: Any, size: Any, how: Resize) -> Any:
    """``uint8 [H,W,C]`` -> ``uint8 [*size,C]``, ``size`` ``int32 [2]``: bilinear, antialiased as Pillow does.

    Padding is zero: black, and transparent if there is an alpha channel.

    Transparent pixels lend their neighbours no colour.
    """
    given, target = tf.cast(tf.shape(image)[:2], tf.float32), tf.cast(size, tf.float32)
    scale = target / given
    if how != "stretch":
        scale = tf.repeat(tf.reduce_min(scale) if how == "pad" else tf.reduce_max(scale), 2)
    resized = tf.raw_ops.ScaleAndTranslate(
        images=(weigh_by_alpha(image) if image.shape[2] == _RGBA else image)[None],
        size=size,
        scale=scale,
        translation=(target - scale * given) / 2,
        kernel_type="triangle",
        antialias=True,
    )[0]
    if image.shape[2] == _RGBA:
        resized = _divide_by_alpha(resized)
    return tf.cast(tf.round(resized), tf.uint8)


def weigh_by_alpha(image: Any) -> Any:
    """``[H,W,4]`` -> ``float32 [H,W,4]``: transparent pixels have no colour."""
    levels = tf.cast(image, tf.float32)
    return tf.concat([levels[..., :3] * levels[..., 3:] / 255, levels[..., 3:]], axis=2)


def _divide_by_alpha(image: Any) -> Any:
    colour = tf.math.divide_no_nan(image[..., :3] * 255, image[..., 3:])
    return tf.concat([tf.minimum(colour, 255.0), image[..., 3:]], axis=2)
