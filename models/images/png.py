"""PNG files of pixels."""

import numpy as np

from modelyard.models.types import Array


def encode_png(image: Array) -> bytes:
    """PNG bytes of an image ``[H,W,C]`` with values 0..255."""
    import tensorflow as tf

    content: bytes = tf.io.encode_png(image.astype(np.uint8)).numpy()
    return content
