"""Rows of a table by ids; Keras layers that turn word ids into weighted n-grams, and n-grams into sums of rows."""

from typing import Any

import keras

from modelyard.models.text.vocabulary import FIRST_WORD


def look_up(table: Any, ids: Any) -> Any:
    """``[V,...]`` and ids ``int [N,L]`` of at least 0 -> ``[N,L,...]``.

    ``keras.ops.take`` counts negative ids from the end: with TensorFlow, that is five operations more.
    """
    if keras.backend.backend() != "tensorflow":
        return keras.ops.take(table, ids, axis=0)
    import tensorflow as tf

    return tf.gather(tf.convert_to_tensor(table), ids)


@keras.saving.register_keras_serializable("modelyard")
class NgramWeights(keras.layers.Layer):  # type: ignore[misc]  # Keras has no type information
    """The known words and pairs of words of a text, each once, weighted by tf-idf; the weights have unit length.

    ``int32 [N,L]`` -> columns ``int32 [N,2L-1]`` and weights ``float32 [N,2L-1]``, 0 where there is no n-gram. Its own
    weights are the codes of n-grams, ascending (``NgramIndex``), and their inverse text frequencies.
    """

    def __init__(self, ngrams: int, vocabulary_size: int, **options: Any) -> None:
        super().__init__(**options)
        self.ngrams, self.vocabulary_size = ngrams, vocabulary_size

    def build(self, _: Any) -> None:
        self.codes = self.add_weight(
            name="codes", shape=(self.ngrams,), dtype="int32", initializer="zeros", trainable=False
        )
        self.idf = self.add_weight(name="idf", shape=(self.ngrams,), initializer="zeros", trainable=False)

    def compute_output_shape(self, shape: Any) -> Any:
        found = (shape[0], None if shape[1] is None else 2 * shape[1] - 1)
        return found, found

    def compute_output_spec(self, ids: Any) -> Any:
        columns, weights = self.compute_output_shape(ids.shape)
        return keras.KerasTensor(columns, "int32"), keras.KerasTensor(weights, "float32")

    def call(self, ids: Any) -> Any:
        ops = keras.ops
        left, right = ids[:, :-1], ids[:, 1:]
        pairs = ops.where((left >= FIRST_WORD) & (right >= FIRST_WORD), left * self.vocabulary_size + right, 0)
        codes = ops.sort(ops.concatenate([ids, pairs], axis=1), axis=1)
        columns = ops.reshape(ops.searchsorted(self.codes, ops.reshape(codes, (-1,))), ops.shape(codes))
        columns = ops.cast(ops.minimum(columns, self.ngrams - 1), "int32")
        again = ops.pad(codes[:, 1:] == codes[:, :-1], ((0, 0), (1, 0)))
        known = (look_up(self.codes, columns) == codes) & ops.logical_not(again)
        weights = look_up(self.idf, columns) * ops.cast(known, "float32")
        length = ops.sqrt(ops.sum(ops.square(weights), axis=1, keepdims=True))
        return columns, weights / ops.maximum(length, 1e-6)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "ngrams": self.ngrams, "vocabulary_size": self.vocabulary_size}


@keras.saving.register_keras_serializable("modelyard")
class WeightedSum(keras.layers.Layer):  # type: ignore[misc]  # Keras has no type information
    """The sum of a table's rows ``[ngrams,size]``: columns ``int32 [N,M]`` and weights ``[N,M]`` -> ``[N,size]``."""

    def __init__(self, ngrams: int, size: int, use_bias: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.ngrams, self.size, self.use_bias = ngrams, size, use_bias

    def build(self, *_: Any) -> None:
        self.table = self.add_weight(name="table", shape=(self.ngrams, self.size), initializer="random_normal")
        self.bias = self.add_weight(name="bias", shape=(self.size,), initializer="zeros") if self.use_bias else None

    def compute_output_shape(self, columns_shape: Any, weights_shape: Any) -> Any:  # noqa: ARG002  # named by Keras
        return columns_shape[0], self.size

    def call(self, columns: Any, weights: Any) -> Any:
        rows = look_up(self.table, columns)
        total = keras.ops.sum(rows * weights[:, :, None], axis=1)
        return total if self.bias is None else total + self.bias

    def get_config(self) -> dict[str, Any]:
        own = {"ngrams": self.ngrams, "size": self.size, "use_bias": self.use_bias}
        return {**super().get_config(), **own}
