"""Rows to features by Keras's preprocessing layers: the same ones encode the training data and stand in the graph.

TensorFlow code. It also runs where Keras computes with JAX: it is only ever called inside a ``tf.function``.
"""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from modelyard.models.data import Inputs, count_examples, take
from modelyard.models.defaults.date_features import DATE_FEATURES, encode_dates
from modelyard.models.defaults.row_state import (
    MAX_WORDS,
    MIN_COUNT,
    learn_categories,
    learn_scales,
    list_names,
    measure,
    name_categories,
)
from modelyard.models.inputs import ImageInput, OneInput, State
from modelyard.models.types import Array

BATCH = 4_096
UNKNOWN, NOTHING = "\x00unknown", "\x00nothing"
"""No category has these names, and no text has these words."""
IMAGE_SIDE = 16
"""Pixels of a side that an image among other inputs is made smaller to."""


class Block(tf.Module):  # type: ignore[misc]  # TensorFlow has no type information
    """Features of some inputs: ``float32 [N,F]`` of raw tensors by name."""

    def __init__(self, names: list[str], features: list[str]) -> None:
        super().__init__()
        self.names, self.features = names, features

    def __call__(self, raw: Mapping[str, Any]) -> Any:
        raise NotImplementedError


class Numbers(Block):
    """Standardised numbers, 0 where missing, and for each whether it is missing."""

    def __init__(self, names: list[str], state: State) -> None:
        super().__init__(names, [*names, *(f"{name} is missing" for name in names)])
        self.normalise = make_normaliser(state["number/mean"], state["number/variance"])

    def __call__(self, raw: Mapping[str, Any]) -> Any:
        values = tf.stack([raw[name] for name in self.names], axis=1)
        missing = tf.math.is_nan(values)
        scaled = tf.where(missing, 0.0, self.normalise(values))
        return tf.concat([scaled, tf.cast(missing, tf.float32)], axis=1)


class Vector(Block):
    """The standardised numbers of one vector."""

    def __init__(self, name: str, state: State) -> None:
        mean = state[f"vector/{name}/mean"]
        super().__init__([name], [f"{name}[{index}]" for index in range(len(mean))])
        self.normalise = make_normaliser(mean, state[f"vector/{name}/variance"])

    def __call__(self, raw: Mapping[str, Any]) -> Any:
        return self.normalise(raw[self.names[0]])


class Category(Block):
    """One feature for each known value, and one for all others."""

    def __init__(self, name: str, state: State) -> None:
        values = state[f"category/{name}"]
        super().__init__([name], name_categories(name, values))
        self.width = len(self.features)
        self.lookup = keras.layers.StringLookup(vocabulary=list(values) or [NOTHING], oov_token=UNKNOWN)

    def __call__(self, raw: Mapping[str, Any]) -> Any:
        return tf.one_hot(self.lookup(tf.strings.strip(raw[self.names[0]])), self.width)


class Text(Block):
    """Words that occur, weighted by how rare they are in the training split, to length 1."""

    def __init__(self, name: str, state: State) -> None:
        words = state[f"text/{name}/words"]
        super().__init__([name], [f"{name} has another word", *(f"{name} has {word}" for word in words)])
        self.vectorise = make_vectoriser(words)
        self.weights = state[f"text/{name}/weights"]

    def __call__(self, raw: Mapping[str, Any]) -> Any:
        occurs = tf.cast(self.vectorise(raw[self.names[0]]), tf.float32)
        return tf.math.l2_normalize(occurs * self.weights, axis=1)


class Date(Block):
    """Calendar and clock as written, and the day standardised."""

    def __init__(self, name: str, state: State) -> None:
        super().__init__([name], [f"{name} {feature}" for feature in DATE_FEATURES])
        self.mean, self.deviation = state[f"date/{name}/mean"], np.sqrt(state[f"date/{name}/variance"])

    def __call__(self, raw: Mapping[str, Any]) -> Any:
        scaled = (encode_dates(tf.strings.strip(raw[self.names[0]])) - self.mean) / self.deviation
        return tf.where(tf.math.is_nan(scaled), 0.0, scaled)


class Image(Block):
    """Pixels from 0 to 1 of an image made small."""

    def __init__(self, name: str, kind: ImageInput) -> None:
        self.size = (min(kind.height, IMAGE_SIDE), min(kind.width, IMAGE_SIDE))
        self.width = self.size[0] * self.size[1] * kind.channels
        super().__init__([name], [f"{name}[{index}]" for index in range(self.width)])

    def __call__(self, raw: Mapping[str, Any]) -> Any:
        small = tf.image.resize(tf.cast(raw[self.names[0]], tf.float32), self.size, method="area") / 255.0
        return tf.reshape(small, (-1, self.width))


class RowEncoder(tf.Module):  # type: ignore[misc]  # TensorFlow has no type information
    """Raw tensors by name -> ``float32 [N,F]``; an exporter has to track it."""

    def __init__(self, inputs: Mapping[str, OneInput], state: State) -> None:
        super().__init__(name="row_encoder")
        self._inputs = list(inputs)
        self.blocks = make_blocks(inputs, state)
        self.all_features = [feature for block in self.blocks for feature in block.features]
        self._keep = state.get("keep")

    def __call__(self, raw: Any) -> Any:
        named = raw if isinstance(raw, Mapping) else {self._inputs[0]: raw}
        features = tf.concat([block(named) for block in self.blocks], axis=1)
        return features if self._keep is None else tf.gather(features, self._keep, axis=1)


def make_blocks(inputs: Mapping[str, OneInput], state: State) -> list[Block]:
    """Blocks of all inputs, numbers first."""
    numbers = list_names(inputs, "number")
    images = {name: kind for name, kind in inputs.items() if isinstance(kind, ImageInput)}
    return [
        *([Numbers(numbers, state)] if numbers else []),
        *(Vector(name, state) for name in list_names(inputs, "vector")),
        *(Category(name, state) for name in list_names(inputs, "category")),
        *(Text(name, state) for name in list_names(inputs, "text")),
        *(Date(name, state) for name in list_names(inputs, "date")),
        *(Image(name, kind) for name, kind in images.items()),
    ]


def make_normaliser(mean: Array, variance: Array) -> Any:
    """A layer that subtracts the mean and divides by the deviation; built here, since calls are in graphs."""
    layer = keras.layers.Normalization(mean=mean, variance=variance, dtype="float32")
    layer.build((None, len(mean)))
    return layer


def make_vectoriser(words: Any) -> Any:
    """A layer from ``string [N]`` to whether each word occurs, ``[N,1+V]``, another word first."""
    return keras.layers.TextVectorization(vocabulary=[str(word) for word in words], output_mode="multi_hot")


def encode_rows(encode: Callable[[Any], Any], x: Inputs) -> Array:
    """Features ``float32 [N,F]`` of raw inputs, in batches."""
    function: Any = None
    parts = []
    for start in range(0, count_examples(x), BATCH):
        raw = to_tensors(take(x, slice(start, start + BATCH)))
        if function is None:
            signature = [tf.nest.map_structure(_any_length, raw)]
            function = tf.function(encode, signature, autograph=False)  # an export traces it so, too
        parts.append(function(raw).numpy())
    return np.concatenate(parts)


def to_tensors(x: Inputs) -> Any:
    """Raw inputs as a signature takes them."""
    if isinstance(x, Mapping):
        return {name: to_tensors(values) for name, values in x.items()}
    return tf.constant(x.tolist(), tf.string) if x.dtype == object else tf.constant(x, tf.float32)


def _any_length(tensor: Any) -> Any:
    return tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype)


# --- learning -----------------------------------------------------------------------------------------------------


def learn_state(inputs: Mapping[str, OneInput], x: Mapping[str, Array]) -> dict[str, Array]:
    """The state of a ``RowEncoder``, from the training split; ``features`` are the names of what the model gets."""
    state = learn_scales(inputs, x) | learn_categories(inputs, x)
    for name in list_names(inputs, "text"):
        state |= _learn_words(name, x[name])
    for name in list_names(inputs, "date"):
        mean, variance = measure(encode_rows(encode_dates, x[name]))
        state |= {f"date/{name}/mean": mean, f"date/{name}/variance": variance}
    encoder = RowEncoder(inputs, state)
    state["keep"] = _find_varying(encoder, x)
    state["features"] = np.array([encoder.all_features[index] for index in state["keep"]], object)
    return state


def _learn_words(name: str, texts: Array) -> dict[str, Array]:
    layer = keras.layers.TextVectorization(max_tokens=MAX_WORDS + 2)
    layer.adapt(tf.data.Dataset.from_tensor_slices(tf.constant(texts.tolist())).batch(BATCH))
    words = _fill(np.array(layer.get_vocabulary(include_special_tokens=False), object))
    words = _fill(words[_count_texts(words, texts)[1:] >= MIN_COUNT])
    weights = np.log1p(len(texts) / (1 + _count_texts(words, texts)))
    return {f"text/{name}/words": words, f"text/{name}/weights": weights.astype(np.float32)}


def _fill(words: Array) -> Array:
    """A vocabulary that is not empty, which Keras refuses: in place of none, a word that never comes."""
    return words if len(words) else np.array([NOTHING], object)


def _count_texts(words: Array, texts: Array) -> Array:
    """Texts ``[1+V]`` with another word, and with each word."""
    vectorise = make_vectoriser(words)
    parts = [texts[start : start + BATCH] for start in range(0, len(texts), BATCH)]
    counts: Array = np.sum([encode_rows(vectorise, part).sum(axis=0) for part in parts], axis=0)
    return counts


def _find_varying(encoder: RowEncoder, x: Mapping[str, Array]) -> Array:
    """Indices ``int32 [F]`` of features that are not the same in every row: nothing is learned from a constant."""
    low, high = None, None
    for start in range(0, count_examples(x), BATCH):
        part = encode_rows(encoder, take(x, slice(start, start + BATCH)))
        low = part.min(axis=0) if low is None else np.minimum(low, part.min(axis=0))
        high = part.max(axis=0) if high is None else np.maximum(high, part.max(axis=0))
    varying = np.flatnonzero(low != high).astype(np.int32)
    return varying if len(varying) else np.zeros(1, np.int32)
