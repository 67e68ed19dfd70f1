"""A model that learns to answer alike to a text and to the same text moved a little to where it would answer otherwise.

Miyato et al. 2017 (arXiv:1605.07725): virtual adversarial training of word vectors. It needs no labels.
"""

from collections.abc import Callable
from typing import Any

import keras

_FIRST_STEP = 0.1
"""Length of the random step from which the worst direction is found."""

Answer = Callable[[Any, Any], Any]
"""Vectors, and what else an answer rests on -> log-odds ``[N,1]``."""


class VirtuallyAdversarial(keras.Model):  # type: ignore[misc]  # Keras has no type information
    """A functional model whose loss also has how far its answer moves within ``distance`` of a text's vectors."""

    def disturb(self, inputs: Any, vectors: Any, rest: Any, log_odds: Any, *, weight: float, distance: float) -> None:
        """Says how an answer comes about: ``inputs`` -> ``vectors`` ``[N,L,D]`` and a list ``rest`` -> ``log_odds``.

        All are tensors of this model. Dropout is off where an answer is moved.
        """
        look, answer = keras.Model(inputs, [vectors, *rest]), keras.Model([vectors, *rest], log_odds)
        self._look: Callable[[Any], Any] = lambda x: look(x, training=False)
        self._answer: Answer = lambda moved, others: answer([moved, *others], training=False)
        self._weight, self._distance, self._noise = weight, distance, keras.random.SeedGenerator()

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """The usual loss and, in training, ``weight`` times the divergence."""
        loss = super().compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=training)
        if not training:
            return loss
        vectors, *rest = self._look(x)
        noise = keras.random.normal(keras.ops.shape(vectors), seed=self._noise)
        return loss + self._weight * measure_virtual_loss(self._answer, vectors, rest, noise, self._distance)


def measure_virtual_loss(answer: Answer, vectors: Any, rest: Any, noise: Any, distance: float) -> Any:
    """Mean divergence of the answers to ``vectors`` and to the worst ones found at ``distance``, a scalar.

    Args:
        vectors: ``float [N,L,D]``, 0 at padding, which stays 0.
        rest: what else ``answer`` takes.
        noise: ``float [N,L,D]``; which way is the first.
    """
    ops = keras.ops
    usual = ops.stop_gradient(answer(vectors, rest))
    words = ops.cast(ops.any(vectors != 0, axis=-1, keepdims=True), "float32")

    def move(step: Any) -> Any:
        return ops.sum(_divergence(usual, answer(ops.stop_gradient(vectors) + step, rest)))

    direction = find_gradient(move, _FIRST_STEP * _to_unit(noise * words))
    step = ops.stop_gradient(distance * _to_unit(direction * words))
    return ops.mean(_divergence(usual, answer(vectors + step, rest)))


def find_gradient(function: Callable[[Any], Any], at: Any) -> Any:
    """Of a scalar function, by the library that Keras computes with."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.grad(function)(at)
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(at)
        value = function(at)
    return tape.gradient(value, at)


def _to_unit(step: Any) -> Any:
    """Each text's step at length 1, ``[N,L,D]``; where it has none, 0."""
    ops = keras.ops
    largest = ops.max(ops.abs(step), axis=(1, 2), keepdims=True)
    step = step / ops.maximum(largest, 1e-20)  # squares of small gradients would be 0
    return step / ops.maximum(ops.sqrt(ops.sum(ops.square(step), axis=(1, 2), keepdims=True)), 1e-12)


def _divergence(usual: Any, moved: Any) -> Any:
    """Kullback-Leibler divergence of two answers given as log-odds, ``[N,1]`` each."""
    ops = keras.ops
    p = ops.sigmoid(usual)
    return p * (ops.softplus(-moved) - ops.softplus(-usual)) + (1.0 - p) * (ops.softplus(moved) - ops.softplus(usual))
