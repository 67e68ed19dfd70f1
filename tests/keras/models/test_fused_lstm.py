"""The LSTM in one operation answers as Keras's loop does: any length, mask, direction and state."""

from itertools import product
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from modelyard.models.text.fused_lstm import FusedLSTM

ROWS, STEPS, CHANNELS, UNITS = 5, 11, 7, 6
LENGTHS = (11, 1, 4, 0, 8)
PAIRWISE = [
    pytest.param(*three, marks=() if sum(three) % 2 else pytest.mark.long) for three in product((False, True), repeat=3)
]
"""All values of three switches. Half of them, in which each two occur in every way, are in ``make test``."""


def build_both(*, return_sequences: bool, **options: Any) -> tuple[FusedLSTM, Any]:
    """The fused layer and Keras's own with its weights, zero where masked as ``Bidirectional`` requires."""
    options["return_sequences"] = return_sequences
    fused, plain = (
        FusedLSTM(UNITS, **options),
        keras.layers.LSTM(UNITS, zero_output_for_mask=return_sequences, **options),
    )
    for layer in (fused, plain):
        layer.build((None, None, CHANNELS))
    generator = np.random.default_rng(1)
    fused.set_weights([generator.normal(size=weight.shape) for weight in fused.weights])
    plain.set_weights(fused.get_weights())
    return fused, plain


def sequences() -> Any:
    return tf.constant(np.random.default_rng(2).normal(size=(ROWS, STEPS, CHANNELS)), tf.float32)


def operations(layer: Any, **call: Any) -> set[str]:
    traced = tf.function(lambda x: layer(x, **call)).get_concrete_function(tf.TensorSpec((None, None, CHANNELS)))
    return {node.op for node in traced.graph.as_graph_def().node}


@pytest.mark.parametrize(("return_sequences", "go_backwards", "masked"), PAIRWISE)
def test_outputs_equal_those_of_keras(*, return_sequences: bool, go_backwards: bool, masked: bool) -> None:
    fused, plain = build_both(return_sequences=return_sequences, go_backwards=go_backwards, return_state=True)
    mask = tf.sequence_mask(LENGTHS, STEPS) if masked else None
    state = [tf.random.stateless_normal((ROWS, UNITS), (3, each)) for each in range(2)]
    received = fused(sequences(), initial_state=state, mask=mask)
    for ours, keras_own in zip(received, plain(sequences(), initial_state=state, mask=mask), strict=True):
        np.testing.assert_allclose(ours, keras_own, atol=2e-6)


def test_bidirectional_outputs_equal_those_of_keras() -> None:
    fused, plain = (
        keras.layers.Bidirectional(kind(UNITS, return_sequences=True)) for kind in (FusedLSTM, keras.layers.LSTM)
    )
    mask = tf.sequence_mask(LENGTHS, STEPS)
    expected = plain(sequences(), mask=mask)
    fused(sequences(), mask=mask)
    fused.set_weights(plain.get_weights())
    np.testing.assert_allclose(fused(sequences(), mask=mask), expected, atol=2e-6)


def test_is_one_operation_without_a_loop() -> None:
    fused, plain = build_both(return_sequences=True)
    assert "BlockLSTM" in operations(fused)
    assert "While" in " ".join(operations(plain))
    assert "While" not in " ".join(operations(fused))


@pytest.mark.parametrize(("go_backwards", "masked", "training"), PAIRWISE)
def test_gradients_equal_those_of_keras(*, go_backwards: bool, masked: bool, training: bool) -> None:
    mask = tf.sequence_mask(LENGTHS, STEPS) if masked else None
    ours, expected = (
        gradients(layer, mask, training=training)
        for layer in build_both(return_sequences=True, go_backwards=go_backwards)
    )
    for gradient, keras_own in zip(ours, expected, strict=True):
        np.testing.assert_allclose(gradient, keras_own, atol=2e-5)


def gradients(layer: Any, mask: Any, *, training: bool) -> list[Any]:
    """Of a sum that weighs each output differently, by the inputs and by each weight."""
    x = sequences()
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = layer(x, mask=mask, training=training)
        total = tf.reduce_sum(outputs * tf.random.stateless_normal(outputs.shape, (4, 4)))
    found: list[Any] = tape.gradient(total, [x, *layer.trainable_variables])
    return found


@pytest.mark.parametrize("options", [{"activation": "relu"}, {"recurrent_activation": "relu"}, {"use_bias": False}])
def test_leaves_other_cells_to_keras(options: dict[str, Any]) -> None:
    assert "BlockLSTM" not in operations(FusedLSTM(UNITS, **options))


def test_survives_saving_and_loading() -> None:
    fused = build_both(return_sequences=True)[0]
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(fused))
    assert type(again) is FusedLSTM
