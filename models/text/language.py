"""Language models in both directions: an LSTM that has read the reviews before it is told what any of them means.

One direction guesses each word from those before it, the other from those behind it. Their weights are where a
classifier begins (Dai and Le 2015, arXiv:1511.01432). A word is told from a sample of words, not from all (Jean et al.
2015, arXiv:1412.2007).
"""

import math
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
