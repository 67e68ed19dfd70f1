"""What an LSTM learns from texts without their labels: the language first, then answers that stay the same.

Language models: one direction guesses each word from those before it, the other from those behind it. Their weights are
where a classifier begins (Dai and Le 2015, arXiv:1511.01432). A word is told from a sample of words, not from all (Jean
et al. 2015, arXiv:1412.2007). Virtual adversarial training (Miyato et al. 2017, arXiv:1605.07725): the answer to a text
shall be that to the same text, its word vectors moved a little to where the answer would be another.
"""

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from modelyard.models.inputs import State
from modelyard.models.text.batches import ReviewBatches
from modelyard.models.text.fused_lstm import FusedLSTM
from modelyard.models.text.vocabulary import FIRST_WORD, PADDING
from modelyard.models.types import Array

LEARNING_RATE = 1e-3
_PREFIX = "language_"
_NOTHING = np.zeros(0)

_FIRST_STEP = 0.1
"""Length of the random step from which the worst direction is found."""

Answer = Callable[[Any, Any], Any]
"""Vectors, and what else an answer rests on -> log-odds ``[N,1]``."""


# --- the language -------------------------------------------------------------------------------------------------


def read_steps(embedded: Any, ids: Any, *, filters: int, kernel_size: int, stride: int, units: int) -> tuple[Any, Any]:
    """What a convolution over phrases, and an LSTM in both directions over them, make of a text.

    ``float [N,L,D]``, ``int32 [N,L]`` -> ``float [N,T,2*units]``, forward before backward, and which steps are no
    padding, ``bool [N,T]``; a step is ``stride`` words.
    """
    layers, ops = keras.layers, keras.ops
    x = embedded * ops.cast(ids != PADDING, "float32")[:, :, None]
    x = layers.Conv1D(filters, kernel_size, strides=stride, padding="same", activation="relu", name="phrases")(x)
    steps = ids[:, ::stride] != PADDING
    return layers.Bidirectional(FusedLSTM(units, return_sequences=True), name="lstm")(x, mask=steps), steps


def learn_language(batches: ReviewBatches, vectors: Array, *, epochs: int, samples: int, **sizes: int) -> State:
    """Word vectors and the weights of the layers of ``read_steps``, as arrays for ``restore_language``.

    Args:
        batches: their targets are not looked at; ``epoch`` is 0 again afterwards.
        vectors: where the word vectors begin, ``float [V,D]``; the most frequent words have the lowest ids.
        samples: words, besides the right ones, that a word is told from.
        sizes: of ``read_steps``; each step is one word.
    """
    model = build_language_model(vectors, samples, **sizes)
    steps = epochs * len(batches)
    falling = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps)
    model.compile(keras.optimizers.Adam(falling, global_clipnorm=1.0), loss=_mean_surprise)
    model.fit(batches, epochs=epochs, shuffle=False, verbose=0)
    batches.epoch = 0
    learned = {"vectors": model.get_layer("vectors").get_weights()[0].astype(np.float16)}
    for name in ("phrases", "lstm"):
        for place, weight in enumerate(model.get_layer(name).get_weights()):
            learned[f"{_PREFIX}{name}_{place}"] = weight.astype(np.float16)
    return learned


def restore_language(model: Any, state: State) -> None:
    """Sets the weights of the model's layers to what ``learn_language`` found, if the state has some of that size."""
    for name in ("phrases", "lstm"):
        layer = model.get_layer(name)
        found = [state.get(f"{_PREFIX}{name}_{place}", _NOTHING) for place in range(len(layer.weights))]
        if [weight.shape for weight in found] == [tuple(weight.shape) for weight in layer.weights]:
            layer.set_weights([weight.astype(np.float32) for weight in found])


def build_language_model(vectors: Array, samples: int, **sizes: int) -> Any:
    """``int32 [N,L]`` -> how surprising the words of a text are on average, ``float [N,1]``, in nats."""
    layers = keras.layers
    ids = keras.Input((None,), dtype="int32", name="ids")
    count, size = vectors.shape
    states, _ = read_steps(layers.Embedding(count, size, name="vectors")(ids), ids, stride=1, kernel_size=1, **sizes)
    units, words = sizes["units"], Surprise(count, size, samples, name="words")
    ahead = words(states[:, :-1, :units], ids[:, 1:])
    back = words(states[:, 1:, units:], ids[:, :-1])
    model = keras.Model(ids, (ahead + back) / 2.0, name="language")
    model.get_layer("vectors").set_weights([vectors.astype(np.float32)])
    return model


def _mean_surprise(_: Any, surprise: Any) -> Any:
    return keras.ops.mean(surprise, axis=-1)


@keras.saving.register_keras_serializable("modelyard")
class Surprise(keras.layers.Layer):  # type: ignore[misc]  # Keras has no type information
    """How surprising words are to an LSTM: states ``float [N,T,U]`` and ids ``int32 [N,T]`` -> ``float [N,1]``, nats.

    Each word is told from ``samples`` others, drawn by Zipf's law: the lowest ids are the most frequent words. Padding
    and unknown words are not guessed.
    """

    def __init__(self, words: int, size: int, samples: int, **options: Any) -> None:
        super().__init__(**options)
        self.words, self.size, self.samples = words, size, samples
        self.draw = keras.random.SeedGenerator()

    def build(self, states_shape: Any, *_: Any) -> None:
        self.guess = self.add_weight(name="guess", shape=(states_shape[-1], self.size), initializer="glorot_uniform")
        self.table = self.add_weight(name="table", shape=(self.words, self.size), initializer="random_normal")
        self.bias = self.add_weight(name="bias", shape=(self.words,), initializer="zeros")

    def compute_output_shape(self, states_shape: Any, *_: Any) -> Any:
        return states_shape[0], 1

    def call(self, states: Any, ids: Any) -> Any:
        ops = keras.ops
        count = self.words - FIRST_WORD
        uniform = keras.random.uniform((self.samples,), seed=self.draw)
        others = ops.cast(ops.exp(uniform * math.log(count + 1.0)), "int32") - 1 + FIRST_WORD
        others = ops.minimum(others, self.words - 1)
        guesses = ops.matmul(states, self.guess)
        right = ops.sum(guesses * ops.take(self.table, ids, axis=0), axis=-1) + ops.take(self.bias, ids)
        right = right - self._log_expected(ids)
        wrong = ops.matmul(guesses, ops.transpose(ops.take(self.table, others, axis=0))) + ops.take(self.bias, others)
        wrong = wrong - self._log_expected(others)
        wrong = ops.where(ids[:, :, None] == others, -1e9, wrong)  # a right word that was drawn is not wrong
        surprise = ops.logsumexp(ops.concatenate([right[:, :, None], wrong], axis=-1), axis=-1) - right
        known = ops.cast(ids >= FIRST_WORD, "float32")
        total = ops.sum(surprise * known, axis=1, keepdims=True)
        return total / ops.maximum(ops.sum(known, axis=1, keepdims=True), 1.0)

    def _log_expected(self, ids: Any) -> Any:
        """How often an id is among the samples, by Zipf's law; its logarithm."""
        ops = keras.ops
        rank = ops.cast(ops.maximum(ids - FIRST_WORD, 0), "float32")
        share = ops.log((rank + 2.0) / (rank + 1.0)) / math.log(self.words - FIRST_WORD + 1.0)
        return ops.log(self.samples * share)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "words": self.words, "size": self.size, "samples": self.samples}


# --- virtual adversarial training ---------------------------------------------------------------------------------


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
