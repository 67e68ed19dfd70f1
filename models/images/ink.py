"""Files of drawn strokes to the pixels that a model takes: whatever was drawn with, light ink of one size on black."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from modelyard.models.images.exif import UPRIGHT, find_tiff, read_orientation
from modelyard.models.images.geometry import is_transposed, turn_upright
from modelyard.models.images.ink_placing import normalise_ink
from modelyard.models.inputs import ImageInput

SIDE = 128
"""Pixels of the square that every picture is brought to first."""
_PNG = b"\x89PNG"
_COLOUR_TYPE = 25
_MAY_BE_TRANSPARENT = "(?s)\\C{25}[\\x04\\x06]\\C*|\\C*tRNS\\C*"
_MAY_BE_TURNED = "(?s)\\C*(?:eXIf|Exif\\x00\\x00)\\C*"


def make_ink_decoder(kind: ImageInput) -> Callable[[Any], Any]:
    """PNG or JPEG files ``string [N]`` -> ``float32 [N,height,width,1]``."""

    def decode(files: Any, headers: Any) -> Any:
        pictures, sizes = tf.map_fn(
            lambda one: _read(*one),
            (files, headers),
            fn_output_signature=(tf.TensorSpec((SIDE, SIDE, 3), tf.float32), tf.TensorSpec((2,), tf.float32)),
        )
        return normalise_ink(pictures, sizes, kind)

    return decode


def _read(file: Any, header: Any) -> tuple[Any, Any]:
    """One file -> ``float32 [128,128,3]``, stretched, and its height and width as meant."""
    is_transparent = tf.strings.substr(file, 0, 4) == _PNG
    is_transparent = is_transparent & tf.strings.regex_full_match(header, _MAY_BE_TRANSPARENT)
    picture, size = tf.cond(
        is_transparent,
        lambda: _lay_on_paper(*_squeeze(tf.io.decode_png(file, 4))),
        lambda: _squeeze(tf.io.decode_jpeg(file, 3)),
    )
    return tf.cond(
        tf.strings.regex_full_match(header, _MAY_BE_TURNED),
        lambda: _turn(picture, size, find_tiff(header)),
        lambda: (picture, size),
    )


def _turn(picture: Any, size: Any, tiff: Any) -> tuple[Any, Any]:
    orientation = tf.cond(tf.equal(tiff, ""), lambda: UPRIGHT, lambda: read_orientation(tiff))
    turned = tf.ensure_shape(turn_upright(picture, orientation), picture.shape)
    return turned, tf.where(is_transposed(orientation), size[::-1], size)


def _squeeze(image: Any) -> tuple[Any, Any]:
    """``uint8 [H,W,C]`` -> ``float32 [128,128,C]``, and its size; colours weighed by the alpha channel, if there is one."""
    channels = image.shape[2]
    size = tf.cast(tf.shape(image)[:2], tf.float32)
    if channels == 4:  # noqa: PLR2004
        levels = tf.cast(image, tf.float32)
        image = tf.concat([levels[..., :3] * levels[..., 3:] / 255, levels[..., 3:]], axis=2)
    squeezed = tf.raw_ops.ScaleAndTranslate(
        images=image[None],
        size=(SIDE, SIDE),
        scale=SIDE / size,
        translation=(0.0, 0.0),
        kernel_type="triangle",
        antialias=True,
    )[0]
    return tf.ensure_shape(squeezed, (SIDE, SIDE, channels)), size


def _lay_on_paper(picture: Any, size: Any) -> tuple[Any, Any]:
    """On white or black, whichever shows what is drawn; or, if most is opaque, whichever is nearer to it."""
    colour, alpha = picture[..., :3], picture[..., 3:] / 255
    covered = tf.reduce_sum(alpha)
    mean = tf.reduce_sum(colour) / (3 * covered + 1e-3)
    is_paper_seen = covered > SIDE * SIDE / 2
    is_light = mean > 255 / 2
    paper = tf.where(tf.equal(is_light, is_paper_seen), 255.0, 0.0)
    return colour + (1 - alpha) * paper, size
