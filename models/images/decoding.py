"""PNG and JPEG files to the pixels that a model takes, by stock TensorFlow operations alone.

One definition: readers of files use it, and it is part of the exported graph, so a model is asked about the pixels that
it would have been trained on.
"""

import struct
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import tensorflow as tf

from modelyard.models.images.apart import keep_apart
from modelyard.models.images.exif import choose_orientation, find_tiff
from modelyard.models.images.geometry import is_transposed, resize_image, turn_upright
from modelyard.models.images.ink import are_normal, make_ink_decoder
from modelyard.models.inputs import ImageInput
from modelyard.models.types import Array

HEADER_BYTES = 1 << 16
"""What is said before the pixels is looked for in so many first bytes."""
_PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR"
"""How a PNG file begins; width, height, bits and colour type follow (PNG specification, 11.2.1)."""
_COLOUR_TYPE, _SECOND_CHUNK = 25, 37
"""Where the colour type stands, and the name of what comes next."""
_EXACT = {1: b"\x08\x00", 3: b"\x08\x02", 4: b"\x08\x06"}
"""Bits and colour type of a PNG file that holds just so many channels."""
_ALPHA_TYPES = (b"\x04", b"\x06")
_SPECIAL = "(?s)\\C*(?:tRNS|eXIf|Exif\\x00\\x00|Adobe\\x00)\\C*"
"""A transparent colour, EXIF, or maybe CMYK. RE2: ``\\C`` is any byte."""
_IS_TRANSPARENT = "(?s)\\C*tRNS\\C*"
_ACCURATE = "INTEGER_ACCURATE"
"""Transforms of JPEG that are exact to a rounding, as other decoders': the default is up to 20 levels off."""
_LUMA = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in grey (ITU-R BT.601), as Pillow and libpng have them."""
_RGBA = _CMYK = 4


def make_image_decoder(kind: ImageInput) -> Callable[[Any], Any]:
    """PNG or JPEG files ``string [N]`` -> ``float32 [N,height,width,channels]`` of whole numbers, 0..255.

    An image is turned as EXIF says, and laid on white where the model has no alpha channel. One that has the model's
    size is not resampled. The function raises ``tf.errors.InvalidArgumentError`` for a damaged file.

    Files that need less get less: a batch takes the way of the one that needs most.
    """
    if kind.ink:
        return _make_drawing_decoder(kind)
    shape = tf.TensorSpec((kind.height, kind.width, kind.channels), tf.uint8)

    def decode_each(decode: Callable[..., Any], *files: Any) -> Any:
        return tf.map_fn(lambda one: decode(*one, kind), files, fn_output_signature=shape)

    @keep_apart
    def decode_special(files: Any, headers: Any) -> Any:
        is_transparent = tf.strings.regex_full_match(headers, _IS_TRANSPARENT)
        return decode_each(_decode_special, files, is_transparent, find_tiff(headers))

    @keep_apart
    def decode_others(files: Any) -> Any:
        headers = tf.strings.substr(files, 0, HEADER_BYTES)
        if kind.channels == _RGBA:
            return decode_special(files, headers)
        return tf.cond(
            tf.reduce_any(_are_special(headers)),
            lambda: decode_special(files, headers),
            lambda: decode_each(_decode_usual, files),
        )

    def decode(files: Any) -> Any:
        are_exact = tf.reduce_all(_are_exact(files, kind))
        images = tf.cond(are_exact, lambda: decode_each(_decode_exact, files), lambda: decode_others(files))
        return tf.cast(images, tf.float32)

    # It has only `tf.cond`: there is nothing to convert, and to look for it takes seconds.
    as_it_is: Callable[[Any], Any] = tf.autograph.experimental.do_not_convert(decode)
    return as_it_is


def _make_drawing_decoder(kind: ImageInput) -> Callable[[Any], Any]:
    """The same for drawn strokes: those that are not in the normal form are normalised, whatever the others are."""
    normalise = make_ink_decoder(kind)
    shape = tf.TensorSpec((kind.height, kind.width, kind.channels), tf.uint8)

    @keep_apart
    def normalise_others(files: Any, images: Any, normal: Any) -> Any:
        places = tf.where(~normal)
        others = tf.gather_nd(files, places)
        return tf.tensor_scatter_nd_update(
            images, places, normalise(others, tf.strings.substr(others, 0, HEADER_BYTES))
        )

    def decode(files: Any) -> Any:
        are_exact = _are_exact(files, kind)
        exact = tf.where(are_exact, files, tf.io.encode_png(tf.zeros(shape.shape, tf.uint8)))
        images = tf.map_fn(lambda file: _decode_exact(file, kind), exact, fn_output_signature=shape)
        images = tf.cast(images, tf.float32)
        normal = are_exact & are_normal(images, kind)
        return tf.cond(tf.reduce_all(normal), lambda: images, lambda: normalise_others(files, images, normal))

    as_it_is: Callable[[Any], Any] = tf.autograph.experimental.do_not_convert(decode)
    return as_it_is


@cache
def compile_image_decoder(kind: ImageInput) -> Callable[[Sequence[bytes]], Array]:
    """The same for who reads files: their contents -> ``uint8 [N,height,width,channels]``; on a processor."""
    decode = tf.function(make_image_decoder(kind), input_signature=[tf.TensorSpec((None,), tf.string)])

    def decode_files(contents: Sequence[bytes]) -> Array:
        with tf.device("CPU"):
            images: Array = decode(tf.constant(contents, tf.string)).numpy()
        return images.astype(np.uint8)

    return decode_files


def _are_exact(files: Any, kind: ImageInput) -> Any:
    """``bool [N]``: whether a file is a PNG of the model's size and channels, and says nothing before its pixels."""
    exact = _PNG + struct.pack(">II", kind.width, kind.height) + _EXACT[kind.channels]
    begins = tf.equal(tf.strings.substr(files, 0, len(exact)), exact)
    return begins & tf.equal(tf.strings.substr(files, _SECOND_CHUNK, 4), "IDAT")


def _are_special(headers: Any) -> Any:
    """``bool [N]``: whether a file may have transparency, EXIF or CMYK."""
    types = tf.strings.substr(headers, _COLOUR_TYPE, 1)
    has_alpha = tf.reduce_any(tf.equal(types[:, None], [_ALPHA_TYPES]), axis=1)
    return has_alpha | tf.strings.regex_full_match(headers, _SPECIAL)


# --- one file -> ``uint8 [height,width,channels]`` --------------------------------------------------------------------


def _decode_exact(file: Any, kind: ImageInput) -> Any:
    return tf.ensure_shape(tf.io.decode_png(file, kind.channels), (kind.height, kind.width, kind.channels))


def _decode_usual(file: Any, kind: ImageInput) -> Any:
    image = tf.io.decode_jpeg(file, kind.channels, dct_method=_ACCURATE)  # it takes opaque PNG files as well
    return _fit(image, (kind.height, kind.width), kind)


def _decode_special(file: Any, is_transparent: Any, tiff: Any, kind: ImageInput) -> Any:
    is_png = tf.equal(tf.strings.substr(file, 0, len(_PNG)), _PNG)
    image = tf.cond(
        is_png,
        lambda: _decode_png(file, is_transparent, kind.channels),
        lambda: _decode_jpeg(file, kind.channels),
    )
    orientation = choose_orientation(tiff)
    size = (kind.height, kind.width)
    # Turned last, when it is small.
    fitted = _fit(image, tf.where(is_transposed(orientation), size[::-1], size), kind)
    return tf.ensure_shape(turn_upright(fitted, orientation), (*size, kind.channels))


def _fit(image: Any, size: Any, kind: ImageInput) -> Any:
    """``uint8 [*size,channels]``."""
    image = tf.ensure_shape(image, (None, None, kind.channels))
    is_same = tf.reduce_all(tf.equal(tf.shape(image)[:2], size))
    return tf.cond(is_same, lambda: image, lambda: resize_image(image, size, kind.resize))


# --- one file -> ``uint8 [H,W,channels]`` -----------------------------------------------------------------------------


def _decode_jpeg(file: Any, channels: int) -> Any:
    """A JPEG file; CMYK becomes colour."""
    if channels > 1:
        return _add_alpha(tf.io.decode_jpeg(file, 3, dct_method=_ACCURATE), channels)
    return tf.cond(
        tf.equal(tf.io.extract_jpeg_shape(file)[2], _CMYK),
        lambda: _to_grey(tf.io.decode_jpeg(file, 3, dct_method=_ACCURATE)),
        lambda: tf.io.decode_jpeg(file, 1, dct_method=_ACCURATE),
    )


def _decode_png(file: Any, is_transparent: Any, channels: int) -> Any:
    """A PNG file. Palettes, transparent colours and 1 to 16 bits are libpng's work."""
    colour_type = tf.strings.substr(file, _COLOUR_TYPE, 1)
    return tf.cond(
        is_transparent | tf.reduce_any(tf.equal(colour_type, _ALPHA_TYPES)),
        lambda: _lay_on_white(tf.io.decode_png(file, _RGBA), channels),
        lambda: _add_alpha(tf.io.decode_png(file, min(channels, 3)), channels),
    )


def _add_alpha(image: Any, channels: int) -> Any:
    """``uint8 [H,W,channels]``, opaque. TensorFlow's own way makes files of few bits transparent."""
    return image if channels < _RGBA else tf.pad(image, [(0, 0), (0, 0), (0, 1)], constant_values=255)


def _lay_on_white(image: Any, channels: int) -> Any:
    """``uint8 [H,W,4]`` -> ``uint8 [H,W,channels]``; as it is where the model has an alpha channel."""
    if channels == _RGBA:
        return image
    levels = tf.cast(image, tf.float32)
    alpha = levels[..., 3:] / 255
    colour = tf.round(levels[..., :3] * alpha + 255 * (1 - alpha))
    return _to_grey(colour) if channels == 1 else tf.cast(colour, tf.uint8)


def _to_grey(colour: Any) -> Any:
    """Numbers ``[H,W,3]``, 0..255 -> ``uint8 [H,W,1]``."""
    grey = tf.tensordot(tf.cast(colour, tf.float32), tf.constant(_LUMA), 1)
    return tf.cast(tf.round(grey), tf.uint8)[..., None]
