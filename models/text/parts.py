"""Keras layers that look up words, cut what a part of a model reads from a text's ids, and weigh what parts say."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from modelyard.models.text.ngram_layers import look_up
from modelyard.models.text.statements import list_words, read_grammar
from modelyard.models.text.vocabulary import FIRST_WORD, PADDING, padded_length
from modelyard.models.types import Array


@keras.saving.register_keras_serializable("modelyard")
class WordVectors(keras.layers.Layer):  # type: ignore[misc]  # Keras has no type information
    """A vector for each id, of which training changes some: ``int32 [N,L]`` -> ``float [N,L,size]``.

    An optimiser such as Adam goes through a whole table in each step, however few of its rows a batch has: with
    20,000 rows, that took more than half of a step. ``learned`` rows change here, by a table of their own.
    """

    is_finished = False
    """Whether nothing more is learned: answers then read one table."""

    def __init__(self, words: int, size: int, learned: int, **options: Any) -> None:
        super().__init__(**options)
        self.words, self.size, self.learned = words, size, learned

    def build(self, *_: Any) -> None:
        fixed = {"initializer": "zeros", "trainable": False}
        self.changes = self.add_weight(name="changes", shape=(max(1, self.learned), self.size), initializer="zeros")
        self.vectors = self.add_weight(name="vectors", shape=(self.words, self.size), **fixed)
        self.places = self.add_weight(name="places", shape=(self.words,), dtype="int32", **fixed)

    def fill(self, vectors: Array, learned: Array) -> None:
        """Where training begins (``float [words,size]``), and the ids whose vectors change (``int [learned]``)."""
        places = np.full(self.words, -1, np.int32)
        places[learned] = np.arange(self.learned)
        self.set_weights([np.zeros(self.changes.shape, np.float32), vectors.astype(np.float32), places])

    def finish_learning(self) -> None:
        """Adds what was learned to the vectors, before a model is exported."""
        vectors, places = (np.array(keras.ops.convert_to_numpy(each)) for each in (self.vectors, self.places))
        learned, changes = places >= 0, keras.ops.convert_to_numpy(self.changes)
        vectors[learned] += changes[places[learned]]
        self.set_weights([np.zeros_like(changes), vectors, places])
        self.is_finished = True

    def compute_output_shape(self, shape: Any) -> Any:
        return *shape, self.size

    def call(self, ids: Any, training: bool | None = None) -> Any:
        ops = keras.ops
        vectors = look_up(self.vectors, ids)
        if self.is_finished and not training:
            return vectors
        places = look_up(self.places, ids)
        changes = look_up(self.changes, ops.maximum(places, 0))
        return vectors + changes * ops.cast(places >= 0, "float32")[..., None]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "words": self.words, "size": self.size, "learned": self.learned}


@keras.saving.register_keras_serializable("modelyard")
class HeadAndTail(keras.layers.Layer):  # type: ignore[misc]  # Keras has no type information
    """``int32 [N,L]`` -> ``int32 [N,min(L,size)]``: longer texts keep their first third and their last two thirds.

    In training, texts of up to ``unread`` ids become padding: what learns nothing from them need not read them.
    """

    def __init__(self, size: int, unread: int = 0, **options: Any) -> None:
        super().__init__(**options)
        self.size, self.unread = size, unread

    def compute_output_shape(self, shape: Any) -> Any:
        return shape[0], None

    def call(self, ids: Any, training: bool | None = None) -> Any:
        ops = keras.ops
        lengths = ops.sum(ops.cast(ids != PADDING, "int32"), axis=1, keepdims=True)
        if training and keras.backend.backend() == "tensorflow":  # others want a size that no value decides
            read = ops.cast(lengths > self.unread, "int32")
            ids, lengths = ids * read, lengths * read
            ids = ids[:, : padded_length(ops.max(lengths), ops.maximum)]
        places = ops.cumsum(ops.ones_like(ids), axis=1)[:, : self.size] - 1
        skipped = ops.where(places < self.size // 3, 0, ops.maximum(lengths - self.size, 0))
        if keras.backend.backend() != "tensorflow":
            return ops.take_along_axis(ids, places + skipped, axis=1)
        import tensorflow as tf

        return tf.gather(ids, places + skipped, batch_dims=1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size, "unread": self.unread}


@keras.saving.register_keras_serializable("modelyard")
class ShortOnly(keras.layers.Layer):  # type: ignore[misc]  # Keras has no type information
    """``int32 [N,L]`` -> ``int32 [N,K]``: texts of fewer than ``size`` ids; of longer ones, padding alone.

    ``K`` is no more than the longest of the short ones needs: a batch of long texts costs next to nothing.
    """

    def __init__(self, size: int, **options: Any) -> None:
        super().__init__(**options)
        self.size = size

    def compute_output_shape(self, shape: Any) -> Any:
        return shape[0], None

    def call(self, ids: Any) -> Any:
        ops = keras.ops
        lengths = ops.sum(ops.cast(ids != PADDING, "int32"), axis=1, keepdims=True)
        short = ops.cast(lengths < self.size, "int32")
        if keras.backend.backend() != "tensorflow":  # others want a size that no value decides
            return (ids * short)[:, : self.size]
        width = ops.maximum(ops.max(lengths * short), 1)
        return (ids * short)[:, :width]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size}


@keras.saving.register_keras_serializable("modelyard")
class WeighParts(keras.layers.Layer):  # type: ignore[misc]  # Keras has no type information
    """What the parts for reviews and for sentences say, weighed.

    Inputs are the log-odds of both, how much a text is a review (0..1), and whether a word turns it (0 or 1), all
    ``float [N,1]``. Each part learns from its own texts alone. In an answer, the part for reviews has ``share`` of a
    say in sentences that nothing turns: it knows more words.
    """

    def __init__(self, share: float, **options: Any) -> None:
        super().__init__(**options)
        self.share = share

    def compute_output_shape(self, shape: Any, *_: Any) -> Any:
        return shape

    def call(self, review: Any, sentence: Any, long: Any, turned: Any, training: bool | None = None) -> Any:
        share = long if training else keras.ops.maximum(long, self.share * (1.0 - turned))
        return share * review + (1.0 - share) * sentence

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "share": self.share}


@keras.saving.register_keras_serializable("modelyard")
class HasWord(keras.layers.Layer):  # type: ignore[misc]  # Keras has no type information
    """Whether a text has one of the words with these ids: ``int32 [N,L]`` -> ``float [N,1]``, 0 or 1."""

    def __init__(self, words: Sequence[int], **options: Any) -> None:
        super().__init__(**options)
        self.words = [int(word) for word in words]

    def compute_output_shape(self, shape: Any) -> Any:
        return shape[0], 1

    def compute_output_spec(self, ids: Any) -> Any:
        return keras.KerasTensor((ids.shape[0], 1), "float32")

    def call(self, ids: Any) -> Any:
        ops, last = keras.ops, max(self.words, default=0) + 1
        table = np.zeros(last + 1, np.float32)
        table[self.words] = 1
        return ops.max(look_up(table, ops.minimum(ids, last)), axis=1, keepdims=True)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "words": self.words}


def list_learned(vocabulary: Array, most_frequent: int) -> Array:
    """Ids of the words whose vectors change in training: the most frequent, and those that rules make texts of."""
    learned = np.isin(vocabulary, sorted(list_words()))
    learned[:most_frequent] = True
    return np.concatenate([np.arange(FIRST_WORD), FIRST_WORD + np.flatnonzero(learned)]).astype(np.int32)


def turning_ids(vocabulary: Array) -> list[int]:
    """Ids of the words that may turn what others say."""
    found: list[int] = (FIRST_WORD + np.flatnonzero(np.isin(vocabulary, read_grammar().words["turning"]))).tolist()
    return found
