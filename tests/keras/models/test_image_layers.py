"""Layers for small pictures compute what Keras's own do."""

import keras
import numpy as np
import pytest

from modelyard.models.images.layers import BatchNormalization, Conv2D
from modelyard.models.types import Array


@pytest.mark.parametrize(
    ("size", "channels", "width", "strides", "padding"),
    [
        *((5, 1, 28, 2, "valid"), (5, 1, 12, 2, "valid"), (3, 2, 8, 2, "valid"), (4, 1, 8, 1, "valid")),
        *((5, 1, 10, 2, "valid"), (3, 1, 8, 2, "same"), (2, 3, 16, 4, "valid")),
    ],
)
def test_a_convolution_scales_its_pixels(size: int, channels: int, width: int, strides: int, padding: str) -> None:
    """As a layer before it would, with the same weights; a copy made from its configuration as well.

    Whether or not outputs side by side can be computed as channels of one.
    """
    x = np.random.default_rng(0).uniform(0, 255, (3, 12, width, channels)).astype(np.float32)
    ours = Conv2D(4, size, strides=strides, padding=padding, scale=1 / 255, activation="relu")
    theirs = keras.layers.Conv2D(4, size, strides=strides, padding=padding, activation="relu")
    found = ours(x)
    theirs.build(x.shape)
    ours.bias.assign([0.3, -0.2, 0.1, 0.0])
    theirs.set_weights(ours.get_weights())
    found = ours(x)
    assert found.shape == ours.compute_output_shape(x.shape)
    np.testing.assert_allclose(found, theirs(x / 255), atol=1e-5)
    copy = Conv2D.from_config(ours.get_config())
    copy.build(x.shape)
    copy.set_weights(ours.get_weights())
    np.testing.assert_array_equal(copy(x), found)


@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("activation", [None, "relu"])
def test_a_normalisation_answers_as_it_was_trained(*, pool: bool, activation: str | None) -> None:
    """By what Keras's own layer makes of the pooled numbers, in training and after it; a copy as well."""
    random = np.random.default_rng(1)
    ours = BatchNormalization(pool=pool, activation=activation, momentum=0.5)
    theirs = keras.layers.BatchNormalization(momentum=0.5)
    x = random.normal(2, 3, (6, 8, 4, 5)).astype(np.float32)
    assert ours(x).shape == ours.compute_output_shape(x.shape)
    pooled: Array = np.asarray(keras.ops.max_pool(x, 2)) if pool else x
    theirs.build(pooled.shape)
    for layer in (ours, theirs):
        layer.gamma.assign(np.linspace(0, 2, 5))
        layer.beta.assign(np.linspace(-1, 1, 5))
    copy = BatchNormalization.from_config(ours.get_config())
    copy.build(x.shape)
    for training in (True, False):
        expected = keras.activations.get(activation)(theirs(pooled, training=training))
        np.testing.assert_allclose(ours(x, training=training), expected, atol=1e-5)
    copy.set_weights(theirs.get_weights())
    np.testing.assert_array_equal(copy(x, training=False), ours(x, training=False))


def test_no_factor_of_a_pooled_normalisation_becomes_negative() -> None:
    """Else its answers, which pool last, would be others."""
    layer = BatchNormalization(pool=True)
    model = keras.Sequential([keras.Input((4, 4, 2)), layer, keras.layers.Flatten()])
    model.compile(optimizer=keras.optimizers.SGD(10.0), loss="mse")
    x = np.random.default_rng(2).normal(0, 1, (8, 4, 4, 2)).astype(np.float32)
    model.train_on_batch(x, -np.asarray(model(x, training=True)))
    assert np.asarray(layer.gamma).min() == 0
