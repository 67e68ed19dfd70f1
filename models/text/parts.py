"""Keras layers that cut what a part of a model reads from the ids of a text."""

from typing import Any

import keras

from modelyard.models.text.vocabulary import PAD_MULTIPLE, PADDING


@keras.saving.register_keras_serializable("modelyard")
class HeadAndTail(keras.layers.Layer):  # type: ignore[misc]  # Keras has no type information
    """``int32 [N,L]`` -> ``int32 [N,min(L,size)]``: longer texts keep their first third and their last two thirds."""

    def __init__(self, size: int, **options: Any) -> None:
        super().__init__(**options)
        self.size = size

    def compute_output_shape(self, shape: Any) -> Any:
        return shape[0], None

    def call(self, ids: Any) -> Any:
        ops = keras.ops
        used = ops.cast(ids != PADDING, "int32")
        lengths = ops.sum(used, axis=1, keepdims=True)
        places = ops.cumsum(ops.ones_like(ids), axis=1)[:, : self.size] - 1
        skipped = ops.where(places < self.size // 3, 0, ops.maximum(lengths - self.size, 0))
        return ops.take_along_axis(ids, places + skipped, axis=1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size}


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
        width = (ops.maximum(ops.max(lengths * short), 1) + PAD_MULTIPLE - 1) // PAD_MULTIPLE * PAD_MULTIPLE
        return (ids * short)[:, :width]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size}
