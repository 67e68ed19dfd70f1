"""A trained model on raw inputs, and many of them at once. TensorFlow code."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from modelyard.models.data import Inputs, count_examples, name_arrays, take
from modelyard.models.inputs import State, TextInput
from modelyard.models.spec import Encode, ModelSpec
from modelyard.models.types import Array
from modelyard.pipeline.exporting.constants import ConstantWeights
from modelyard.pipeline.exporting.features import (
    FeatureTap,
    count_words,
    find_feature_layer,
    find_marks,
    find_plain,
    list_words,
    summarise_input,
)

BATCH = 256
EAGER_BATCHES = 3
"""Up to so many batches are run operation by operation: a graph costs more than it saves."""


class Forward:
    """From raw inputs by name to a model's outputs, and what typicality is judged by."""

    def __init__(self, spec: ModelSpec, model: Any, encode: Encode | None, state: State) -> None:
        layer = find_feature_layer(model, spec.feature_layer)
        self.layer: str = layer.name if layer is not None else ""
        """Whose input are the features."""
        self._marks = find_marks(state) if isinstance(spec.input, TextInput) else ()
        self._named = isinstance(spec.input, Mapping)
        self._encode, self._tap, self._weights = encode, FeatureTap(model, layer), ConstantWeights(model)
        self._compiled: Callable[..., Any] | None = None

    def __call__(self, **named: Any) -> tuple[Any, dict[str, Any]]:
        """The model's outputs, and of ``features``, ``summary``, ``plain``, ``words`` and ``common`` what there is."""
        raw = named if self._named else next(iter(named.values()))
        given = self._encode(raw) if self._encode else raw
        outputs, features = self._weights.run(lambda: self._tap(given))
        found = {
            "features": features,
            "summary": summarise_input(given),
            "plain": find_plain(given),
            "words": count_words(given, self._marks),
            "common": list_words(given),
        }
        return outputs, {name: values for name, values in found.items() if values is not None}

    def run(self, spec: ModelSpec, x: Inputs, signature: list[Any]) -> tuple[Array, dict[str, Array]]:
        """The same of many raw examples, as the data has them; in their order."""
        order = sort_by_length(x)
        batches = [take(x, order[start : start + BATCH]) for start in range(0, len(order), BATCH)]
        call = self._compile(signature) if len(batches) > EAGER_BATCHES else self
        back = np.argsort(order)
        parts = [call(**dict(encode_inputs(spec, batch))) for batch in batches]
        outputs = np.concatenate([np.asarray(part[0]) for part in parts])[back]
        observed = {name: join_rows([part[1][name].numpy() for part in parts])[back] for name in parts[0][1]}
        return outputs, observed

    def _compile(self, signature: list[Any]) -> Callable[..., Any]:
        names = [spec.name for spec in signature]

        def call(*tensors: Any) -> Any:
            return self(**dict(zip(names, tensors, strict=True)))

        if self._compiled is None:
            self._compiled = tf.function(call, input_signature=signature, autograph=False)
        compiled = self._compiled
        return lambda **named: compiled(*(named[name] for name in names))


def join_rows(parts: list[Array]) -> Array:
    """Parts one below the other; rows of words are filled up to the longest."""
    width = max(part.shape[1] for part in parts) if parts[0].ndim > 1 else 0
    filled = [np.pad(part, ((0, 0), (0, width - part.shape[1]))) if part.ndim > 1 else part for part in parts]
    return np.concatenate(filled)


def sort_by_length(x: Inputs) -> Array:
    """Indices that sort single texts by length, so that each batch is padded to its own longest; else the order."""
    if isinstance(x, Mapping) or x.dtype != object:
        return np.arange(count_examples(x))
    return np.argsort([len(text) for text in x], kind="stable")


def encode_inputs(spec: ModelSpec, x: Inputs) -> Iterator[tuple[str, Any]]:
    """Raw examples as the graph takes them, by name."""
    for name, values in name_arrays(spec.input, x).items():
        if values.dtype == object:
            yield name, tf.constant([text.encode() for text in values], tf.string)
        else:
            yield name, tf.constant(values.astype(np.float32))
