"""Layers for small pictures compute what Keras's own do."""

import keras
import numpy as np
import pytest

from modelyard.models.images.layers import Conv2D


@pytest.mark.parametrize(("size", "channels"), [(5, 1), (3, 2)])
def test_a_convolution_scales_its_pixels(size: int, channels: int) -> None:
    """As a layer before it would, with the same weights; a copy made from its configuration as well."""
    x = np.random.default_rng(0).uniform(0, 255, (3, 12, 8, channels)).astype(np.float32)
    ours = Conv2D(4, size, strides=2, scale=1 / 255, activation="relu")
    theirs = keras.layers.Conv2D(4, size, strides=2, activation="relu")
    found = ours(x)
    theirs.build(x.shape)
    theirs.set_weights(ours.get_weights())
    np.testing.assert_allclose(found, theirs(x / 255), atol=1e-5)
    copy = Conv2D.from_config(ours.get_config())
    copy.build(x.shape)
    copy.set_weights(ours.get_weights())
    np.testing.assert_array_equal(copy(x), found)
