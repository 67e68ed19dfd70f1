"""The Keras layer that lets a fitted ``NgramModel`` vote beside a model, inside the exported graph."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from modelyard.models.text.hashed_ngrams import (
    CODE_BITS,
    FACTORS,
    MOST_IN_BUCKET,
    NO_NGRAM,
    OFFSETS,
    UP_TO_THREE,
    count_bucket_bits,
)
from modelyard.models.text.ngram_layers import look_up
from modelyard.models.text.vocabulary import FIRST_WORD

_FEW, _MANY = 8.0, 64.0
_STEPS = tuple(2**power for power in reversed(range(MOST_IN_BUCKET.bit_length() - 1)))
_LEAST = 0.5
"""Part of its share that the linear model has on texts of up to ``_FEW`` known words that nothing turns, and none where
something does; from ``_MANY`` on it has all."""


@keras.saving.register_keras_serializable("modelyard")
class NgramVote(keras.layers.Layer):  # type: ignore[misc]  # Keras has no type information
    """Averages the log-odds of a model with those of a fitted ``NgramModel``, computed from the same ids.

    The linear model's share grows with the text: in a sentence with "not" the order of the words decides, in a
    review their number. In training it passes on the model's own log-odds alone.
    """

    def __init__(self, ngrams: int, share: float, orders: Sequence[int] = UP_TO_THREE, **options: Any) -> None:
        super().__init__(**options)
        self.ngrams, self.share, self.orders = ngrams, share, tuple(int(order) for order in orders)

    def build(self, *_: Any) -> None:
        fixed = {"initializer": "zeros", "trainable": False}
        self.codes = self.add_weight(name="codes", shape=(self.ngrams,), dtype="int32", **fixed)
        self.starts = self.add_weight(
            name="starts", shape=(2 ** count_bucket_bits(self.ngrams),), dtype="int32", **fixed
        )
        self.table = self.add_weight(name="table", shape=(self.ngrams, 2), **fixed)
        self.bias = self.add_weight(name="bias", shape=(), **fixed)

    def compute_output_shape(self, log_odds_shape: Any, *_: Any) -> Any:
        return log_odds_shape

    def call(self, log_odds: Any, ids: Any, turned: Any, training: bool | None = None) -> Any:
        """``float [N,1]``, ``int32 [N,L]`` and ``float [N,1]``, 1 where a word turns the text -> ``float [N,1]``."""
        if training:
            return log_odds
        ops = keras.ops
        known = ops.sum(ops.cast(ids >= FIRST_WORD, "float32"), axis=1, keepdims=True)
        least = _LEAST * (1.0 - turned)
        share = self.share * (least + (1.0 - least) * ops.clip((known - _FEW) / (_MANY - _FEW), 0.0, 1.0))
        return (1.0 - share) * log_odds + share * self._ngram_log_odds(ids)

    def _ngram_log_odds(self, ids: Any) -> Any:
        ops = keras.ops
        codes = ops.sort(find_codes(ids, self.orders), axis=1)
        again = ops.pad(codes[:, 1:] == codes[:, :-1], ((0, 0), (1, 0)))  # each n-gram counts once
        columns, found = self._find_columns(codes)
        counts = found & ops.logical_not(again)
        numbers = look_up(self.table, columns) * ops.cast(counts, "float32")[:, :, None]
        vote, square = ops.split(ops.sum(numbers, axis=1), 2, axis=-1)
        return vote / ops.sqrt(ops.maximum(square, 1e-12)) + self.bias

    def _find_columns(self, codes: Any) -> tuple[Any, Any]:
        """Where each code stands among the layer's, and whether it does.

        A binary search among the few that have the same first bits is faster than one among all.
        """
        ops = keras.ops
        bits = count_bucket_bits(self.ngrams)
        buckets = ops.right_shift(codes, np.int32(CODE_BITS - bits)) + np.int32(2 ** (bits - 1))
        columns = look_up(self.starts, buckets)
        for step in _STEPS:
            before = look_up(self.codes, ops.minimum(columns + (step - 1), self.ngrams - 1)) < codes
            columns = ops.where(before, columns + step, columns)
        columns = ops.minimum(columns, self.ngrams - 1)
        return columns, look_up(self.codes, columns) == codes

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "ngrams": self.ngrams, "share": self.share, "orders": self.orders}


def find_codes(ids: Any, orders: Sequence[int]) -> Any:
    """``int32 [N,L]`` -> ``int32 [N,M]``: the codes of all n-grams, ``NO_NGRAM`` where a word is unknown.

    ``L`` is at least the highest order.
    """
    ops = keras.ops
    known = ids >= FIRST_WORD
    codes, are_known, found = ids * FACTORS[0], known, []
    for order in range(1, max(orders) + 1):
        if order > 1:
            codes = codes[:, :-1] + (ids * FACTORS[order - 1])[:, order - 1 :]
            are_known = are_known[:, :-1] & known[:, order - 1 :]
        if order in orders:
            found.append(ops.where(are_known, codes + OFFSETS[order], NO_NGRAM))
    return ops.concatenate(found, axis=1)
