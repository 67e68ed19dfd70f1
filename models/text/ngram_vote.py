"""The Keras layer that lets a fitted ``NgramModel`` vote beside a model, inside the exported graph."""

from typing import Any

import keras

from modelyard.models.text.vocabulary import FIRST_WORD


@keras.saving.register_keras_serializable("modelyard")
class NgramVote(keras.layers.Layer):  # type: ignore[misc]  # Keras has no type information
    """Averages the log-odds of a model with those of a fitted ``NgramModel``, computed from the same ids.

    In training it passes on the model's own log-odds alone.
    """

    def __init__(self, ngrams: int, vocabulary_size: int, share: float, **options: Any) -> None:
        super().__init__(**options)
        self.ngrams, self.vocabulary_size, self.share = ngrams, vocabulary_size, share

    def build(self, _: Any) -> None:
        fixed = {"initializer": "zeros", "trainable": False}
        self.codes = self.add_weight(name="codes", shape=(self.ngrams,), dtype="int32", **fixed)
        self.table = self.add_weight(name="table", shape=(self.ngrams, 2, 2), **fixed)
        self.bias = self.add_weight(name="bias", shape=(), **fixed)

    def compute_output_shape(self, log_odds_shape: Any, ids_shape: Any) -> Any:  # noqa: ARG002  # named by Keras
        return log_odds_shape

    def call(self, log_odds: Any, ids: Any, training: bool | None = None) -> Any:
        """``float [N,1]`` and ``int32 [N,L]`` -> ``float [N,1]``."""
        if training:
            return log_odds
        return (1.0 - self.share) * log_odds + self.share * self._ngram_log_odds(ids)

    def _ngram_log_odds(self, ids: Any) -> Any:
        ops = keras.ops
        left, right = ids[:, :-1], ids[:, 1:]
        pairs = ops.where((left >= FIRST_WORD) & (right >= FIRST_WORD), left * self.vocabulary_size + right, 0)
        codes = ops.sort(ops.concatenate([ids, pairs], axis=1), axis=1)
        columns = ops.searchsorted(self.codes, ops.reshape(codes, (-1,)))
        columns = ops.reshape(ops.minimum(columns, self.ngrams - 1), ops.shape(codes))
        again = ops.pad(codes[:, 1:] == codes[:, :-1], ((0, 0), (1, 0)))  # each n-gram counts once
        counts = (ops.take(self.codes, columns) == codes) & ops.logical_not(again)
        numbers = ops.take(self.table, columns, axis=0) * ops.cast(counts, "float32")[:, :, None, None]
        votes, squares = ops.split(ops.sum(numbers, axis=1), 2, axis=-1)
        return ops.sum(votes / ops.sqrt(ops.maximum(squares, 1e-12)), axis=1) + self.bias

    def get_config(self) -> dict[str, Any]:
        own = {"ngrams": self.ngrams, "vocabulary_size": self.vocabulary_size, "share": self.share}
        return {**super().get_config(), **own}
