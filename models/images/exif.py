"""The orientation that EXIF gives an image, read by stock TensorFlow operations."""

from typing import Any

import tensorflow as tf

_BEFORE = "(?s)^\\C*?(?:Exif\\x00\\x00|eXIf)(II\\*\\x00|MM\\x00\\*)"
"""How EXIF begins in a JPEG and in a PNG file, with the first bytes of the TIFF file that it is.

RE2: ``\\C`` is any byte, and a pattern of ASCII alone reads bytes that are no UTF-8.
"""
_MAX_ENTRIES = 256
_ORIENTATION = 0x0112
"""Its tag (EXIF 2.3, 4.6.4 A)."""
UPRIGHT, _LAST = 1, 8
_ENTRY_BYTES, _VALUE_AT = 12, 8


def find_tiff(headers: Any) -> Any:
    """First bytes of images ``string [N]`` -> from where EXIF's own header begins, ``string [N]``; empty without."""
    found = tf.strings.regex_replace(headers, _BEFORE, "\\1", replace_global=False)
    return tf.where(tf.equal(found, headers), "", found)


def choose_orientation(tiff: Any) -> Any:
    """What EXIF says, upright where there is none: ``find_tiff`` gives an empty text then."""
    return tf.cond(tf.equal(tiff, ""), lambda: UPRIGHT, lambda: read_orientation(tiff))


def read_orientation(tiff: Any) -> Any:
    """A TIFF file ``string []`` -> the orientation in its first directory, ``int32 []``, 1 to 8 (TIFF 6.0, section 2).

    It is 1 if the file does not say, or is damaged.
    """
    levels = tf.cast(tf.io.decode_raw(tiff, tf.uint8), tf.int32)
    last = tf.size(levels) - 1
    is_little_endian = tf.equal(levels[0], ord("I"))

    def read(offsets: Any, size: int) -> Any:
        """Numbers of ``size`` bytes; behind the end, the last byte is repeated."""
        places = tf.clip_by_value(offsets[..., None] + tf.range(size), 0, last)
        weights = 256 ** tf.range(size)
        weights = tf.where(is_little_endian, weights, weights[::-1])
        return tf.reduce_sum(tf.gather(levels, places) * weights, axis=-1)

    directory = tf.clip_by_value(read(tf.constant(4), 4), 0, last)
    count = tf.clip_by_value(read(directory, 2), 0, _MAX_ENTRIES)
    entries = directory + 2 + _ENTRY_BYTES * tf.range(count)
    entry = tf.boolean_mask(entries, tf.equal(read(entries, 2), _ORIENTATION))[:1]
    value = tf.reduce_sum(read(entry + _VALUE_AT, 2))
    return tf.where((value >= UPRIGHT) & (value <= _LAST), value, UPRIGHT)
