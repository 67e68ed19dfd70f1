"""Files of drawn strokes to the pixels that a model takes: whatever was drawn with, light ink of one size on black."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from modelyard.models.images.apart import keep_apart
from modelyard.models.images.exif import choose_orientation, find_tiff
from modelyard.models.images.geometry import is_transposed, turn_upright, weigh_by_alpha
from modelyard.models.images.ink_placing import WINDOW, View, cut_windows, locate_ink, place_ink
from modelyard.models.images.ink_specks import LARGEST, clear_specks
from modelyard.models.inputs import ImageInput

SIDE = 128
"""Pixels of the square that every picture is brought to first."""
_PNG = b"\x89PNG"
_MAY_BE_TRANSPARENT = "(?s)\\C{25}[\\x04\\x06]\\C*|\\C*tRNS\\C*"
_MAY_BE_TURNED = "(?s)\\C*(?:eXIf|Exif\\x00\\x00)\\C*"
_RGBA = 4
_FINER = 0.75
"""Pixels of the square in one of the window, below which the file is asked for more."""


def make_ink_decoder(kind: ImageInput) -> Callable[[Any, Any], Any]:
    """PNG or JPEG files ``string [N]`` and their first bytes -> ``float32 [N,height,width,1]``."""
    picture = tf.TensorSpec((SIDE, SIDE, 3), tf.float32)
    pair, number = tf.TensorSpec((2,), tf.float32), tf.TensorSpec((), tf.float32)
    window = tf.TensorSpec((WINDOW, WINDOW), tf.float32)

    def decode(files: Any, headers: Any) -> Any:
        pictures, sizes, sheets = tf.map_fn(
            lambda one: _read(*one), (files, headers), fn_output_signature=(picture, pair, number)
        )
        view = locate_ink(pictures, sizes)
        windows = cut_windows(pictures, view)
        is_coarse = tf.reduce_all((view.pitch * SIDE < _FINER) & (sizes > SIDE), axis=1)
        given = (files, headers, sheets, windows, is_coarse, _list_views(view))
        windows = tf.map_fn(lambda one: _look_closer(*one), given, fn_output_signature=window)
        return place_ink(windows, view, kind)

    return decode


def are_normal(images: Any, kind: ImageInput) -> Any:
    """``bool [N]``: whether images ``float32 [N,height,width,1]`` are what the normalisation would make of them.

    They are black but for one size of ink, with its mass in the middle.
    """
    assert kind.ink
    height, width = kind.height, kind.width
    rows, columns = (tf.math.count_nonzero(tf.reduce_max(images, axis), (1, 2), dtype=tf.float32) for axis in (2, 1))
    longer = tf.maximum(rows, columns)
    grid = np.indices((height, width)) - np.array([(height - 1) / 2, (width - 1) / 2])[:, None, None]
    weights = np.stack([np.ones((height, width)), *grid], axis=-1).reshape(-1, 3)
    mass, down, right = tf.unstack(
        tf.matmul(tf.reshape(images, (-1, height * width)), weights.astype(np.float32)), axis=1
    )
    is_centred = tf.maximum(tf.abs(down), tf.abs(right)) <= mass
    return is_centred & (longer >= kind.ink.size - 1) & (longer <= kind.ink.size)


def _list_views(view: View) -> tuple[Any, ...]:
    return view.colours.paper, view.colours.ink, view.start, view.pitch, view.edges, view.background


# --- one file ---------------------------------------------------------------------------------------------------------


def _read(file: Any, header: Any) -> tuple[Any, Any, Any]:
    """One file -> ``float32 [128,128,3]``, stretched; its height and width as meant; what it was laid on, 0 or 255."""
    size = tf.constant((SIDE, SIDE))
    picture, given, sheet = _decode(
        file, header, lambda image: _resize(image, size, size / tf.shape(image)[:2], tf.zeros(2))
    )
    read: tuple[Any, Any, Any] = tf.cond(
        tf.strings.regex_full_match(header, _MAY_BE_TURNED),
        lambda: (*_turn(picture, given, header), sheet),
        lambda: (picture, given, sheet),
    )
    return read


def _decode(file: Any, header: Any, shrink: Callable[[Any], Any]) -> tuple[Any, Any, Any]:
    """Pixels that were shrunk before transparency is laid on paper, the file's height and width, and the paper."""

    def read_transparent() -> tuple[Any, Any, Any]:
        image = _clear(tf.io.decode_png(file, _RGBA))
        shrunk = shrink(image)
        sheet = _choose_sheet(shrunk)
        return shrunk[..., :3] + (1 - shrunk[..., 3:] / 255) * sheet, tf.cast(tf.shape(image)[:2], tf.float32), sheet

    def read_opaque() -> tuple[Any, Any, Any]:
        image = _clear(tf.io.decode_jpeg(file, 3))  # it takes opaque PNG files as well
        return shrink(image), tf.cast(tf.shape(image)[:2], tf.float32), tf.constant(0.0)

    read: tuple[Any, Any, Any] = tf.cond(_may_be_transparent(file, header), read_transparent, read_opaque)
    return read


def _clear(image: Any) -> Any:
    """``uint8 [H,W,C]`` without specks, where it is small."""
    is_small = tf.reduce_max(tf.shape(image)[:2]) <= LARGEST
    return tf.ensure_shape(tf.cond(is_small, lambda: _clear_small(image), lambda: image), (None, None, image.shape[2]))


@keep_apart
def _clear_small(image: Any) -> Any:
    return tf.cast(clear_specks(tf.cast(image, tf.float32)[None])[0], tf.uint8)


def _may_be_transparent(file: Any, header: Any) -> Any:
    """Only PNG files: the same bytes in a JPEG file are numbers of its tables."""
    is_png = tf.equal(tf.strings.substr(file, 0, len(_PNG)), _PNG)
    return is_png & tf.strings.regex_full_match(header, _MAY_BE_TRANSPARENT)


def _resize(image: Any, size: Any, scale: Any, translation: Any) -> Any:
    """``uint8 [H,W,C]`` -> ``float32 [*size,C]``; colours are weighed by the alpha channel, if there is one."""
    if image.shape[2] == _RGBA:
        image = weigh_by_alpha(image)
    return tf.raw_ops.ScaleAndTranslate(
        images=image[None],
        size=size,
        scale=tf.cast(scale, tf.float32),
        translation=translation,
        kernel_type="triangle",
        antialias=True,
    )[0]


def _choose_sheet(picture: Any) -> Any:
    """White or black, whichever shows what is drawn; or, if most is opaque, whichever is nearer to it."""
    covered = tf.reduce_mean(picture[..., 3]) / 255
    is_light = tf.reduce_mean(picture[..., :3]) > covered * 255 / 2
    return tf.where(tf.equal(is_light, covered > 1 / 2), 255.0, 0.0)


@keep_apart
def _turn(picture: Any, size: Any, header: Any) -> tuple[Any, Any]:
    """As EXIF says."""
    orientation = choose_orientation(find_tiff(header))
    turned = tf.ensure_shape(turn_upright(picture, orientation), picture.shape)
    return turned, tf.where(is_transposed(orientation), size[::-1], size)


def _look_closer(file: Any, header: Any, sheet: Any, window: Any, is_coarse: Any, view: tuple[Any, ...]) -> Any:
    """The window, from the file itself where the picture was made too small for it; ``float32 [64,64]``."""
    return tf.cond(is_coarse, partial(_read_window, file, header, sheet, view), lambda: window)


@keep_apart
def _read_window(file: Any, header: Any, sheet: Any, view: tuple[Any, ...]) -> Any:
    paper, ink, start, pitch, edges, background = view
    image = tf.cond(
        _may_be_transparent(file, header),
        lambda: tf.io.decode_png(file, _RGBA),
        lambda: _add_alpha(tf.io.decode_jpeg(file, 3)),
    )
    image = tf.cond(
        tf.strings.regex_full_match(header, _MAY_BE_TURNED), lambda: _turn(image, edges, header)[0], lambda: image
    )
    image.set_shape((None, None, _RGBA))
    size = tf.cast(tf.shape(image)[:2], tf.float32)
    scale = 1 / (pitch * size)
    close = _resize(image, (WINDOW, WINDOW), scale, -start * size * scale)
    seen = close[..., :3] + (1 - close[..., 3:] / 255) * sheet
    places = start[:, None] + (tf.range(WINDOW, dtype=tf.float32) + 0.5) * pitch[:, None]
    is_inside = (places > edges[::2, None]) & (places < edges[1::2, None])
    values = tf.reduce_sum((seen - paper) * ink, axis=-1)
    return tf.where(is_inside[0][:, None] & is_inside[1][None], values, background)


def _add_alpha(image: Any) -> Any:
    return tf.pad(image, [(0, 0), (0, 0), (0, 1)], constant_values=255)
