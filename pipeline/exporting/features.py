"""What a model makes of an input before its last layer, and what sums up the input itself. TensorFlow code."""

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from modelyard.models.errors import InvalidSpec
from modelyard.models.inputs import State
from modelyard.models.types import Array

MAX_FEATURES = 1024
"""Of more features, so many are taken at random, always the same ones."""
MAX_NUMBERS = 256
"""Numbers of a vector that a summary holds; of a longer one, the means of so many equal parts."""
INK = 128.0
"""Pixels above it count as inked."""
FIRST_WORD = 2
"""Id of the first word: 0 fills up, 1 is unknown, with our encoders and those of Keras."""
COMMON = 256
"""Word ids that are told apart where the order of words is judged; the last stands for all rarer words."""
VECTOR, SEQUENCE, IMAGE = 2, 3, 4
"""Ranks."""


def find_feature_layer(model: Any, name: str = "") -> Any | None:
    """The layer whose input are the features: the last one with a kernel, or the one of this name; None if none is.

    Raises:
        InvalidSpec: no layer has the name.
    """
    layers = list_layers(model)
    if name:
        found = next((layer for layer in layers if layer.name == name), None)
        if found is None:
            known = ", ".join(layer.name for layer in layers)
            raise InvalidSpec(f"feature_layer: expected one of the layers {known}; received {name!r}")
        return found
    return next((layer for layer in reversed(layers) if hasattr(layer, "kernel")), None)


def list_layers(model: Any) -> list[Any]:
    """Layers in the order of the model, those of models inside it among them."""
    found = []
    for layer in model.layers:
        found += list_layers(layer) if isinstance(layer, keras.Model) else [layer]
    return found


class FeatureTap:
    """Runs a model, and keeps what goes into one of its layers: of models of any kind, also those without a graph."""

    def __init__(self, model: Any, layer: Any | None) -> None:
        self._model, self._layer = model, layer

    def __call__(self, given: Any) -> tuple[Any, Any | None]:
        """Outputs, and features ``float32 [N,F]``; None if the layer was not called."""
        if self._layer is None:
            return self._model(given, training=False), None
        seen: list[Any] = []
        call = self._layer.call

        def keep_input(first: Any, *others: Any, **named: Any) -> Any:
            seen.append(first)
            return call(first, *others, **named)

        object.__setattr__(self._layer, "call", keep_input)  # past Keras, which would track it as a part of the layer
        try:
            outputs = self._model(given, training=False)
        finally:
            object.__delattr__(self._layer, "call")
        return outputs, flatten_features(seen[-1]) if seen and tf.is_tensor(seen[-1]) else None


def flatten_features(x: Any) -> Any | None:
    """``float32 [N,F]``: steps and places are averaged; None if their number is not known."""
    if x.shape.rank is None or x.shape.rank < VECTOR or x.shape[-1] is None:
        return None
    x = tf.cast(x, tf.float32)
    x = tf.reduce_mean(x, axis=list(range(1, x.shape.rank - 1))) if x.shape.rank > VECTOR else x
    return tf.gather(x, choose_features(x.shape[-1]), axis=1) if x.shape[-1] > MAX_FEATURES else x


def choose_features(size: int) -> Array:
    return np.sort(np.random.default_rng(0).permutation(size)[:MAX_FEATURES]).astype(np.int32)


def summarise_input(given: Any) -> Any | None:
    """``float32 [N,S]`` of what the model takes, in a few numbers; None of word ids and the like."""
    tensors = given.values() if isinstance(given, Mapping) else given if isinstance(given, list | tuple) else [given]
    parts = [part for tensor in tensors if (part := summarise_tensor(tensor)) is not None]
    return tf.concat(parts, axis=1) if parts else None


def summarise_tensor(x: Any) -> Any | None:
    """Of a vector its numbers; of a sequence and an image mean, spread and the like."""
    if not tf.is_tensor(x) or not x.dtype.is_floating or not x.shape.rank:
        return None
    if x.shape.rank == 1:
        return x[:, None]
    if x.shape[-1] is None:
        return None
    if x.shape.rank == VECTOR:
        return summarise_vector(tf.cast(x, tf.float32))
    if x.shape.rank == SEQUENCE:
        return tf.concat([each(x, axis=1) for each in (tf.reduce_mean, tf.reduce_min, tf.reduce_max)], axis=1)
    return summarise_image(tf.cast(x, tf.float32)) if x.shape.rank == IMAGE else None


def summarise_vector(x: Any) -> Any:
    size = x.shape[-1]
    if size <= MAX_NUMBERS:
        return x
    bounds = np.linspace(0, size, MAX_NUMBERS + 1).astype(np.int32)
    parts = np.repeat(np.arange(MAX_NUMBERS, dtype=np.int32), np.diff(bounds))
    sums = tf.transpose(tf.math.segment_sum(tf.transpose(x), tf.constant(parts)))
    return sums / np.diff(bounds).astype(np.float32)


def summarise_image(x: Any) -> Any:
    """Brightness of each channel; contrast, inked share, rows and columns with ink, how much neighbours differ."""
    brightness = _mean(x)
    contrast = tf.sqrt(tf.maximum(_mean(tf.square(x)) - tf.square(brightness), 0.0))
    inked = tf.cast(x > INK, tf.float32)
    rows, columns = (tf.reduce_mean(tf.reduce_max(inked, axis=axis), axis=1) for axis in (2, 1))
    others = (contrast, _mean(inked), rows, columns, measure_changes(x))
    if x.shape[-1] > 1:
        others = tuple(tf.reduce_mean(each, axis=1, keepdims=True) for each in others)
    return tf.concat([brightness, *others], axis=1)


def measure_changes(x: Any) -> Any:
    """How much each channel's neighbours in a row differ, ``float32 [N,C]``; 0 of one colour alone.

    All rows of a picture one after the other are cut in a fraction of the time that each row takes by itself. The last
    pixel of a row then counts as a neighbour of the next row's first.
    """
    _, height, width, channels = x.shape
    whole = (-1, height * width) if height and width else (tf.shape(x)[0], -1)
    flat = tf.reshape(x, (*whole, channels))
    if flat.shape[1] == 1:
        return tf.zeros_like(flat[:, 0])
    return tf.reduce_mean(tf.abs(flat[:, 1:] - flat[:, :-1]), axis=1)


def _mean(x: Any) -> Any:
    return tf.reduce_mean(x, axis=[1, 2])


def find_plain(given: Any) -> Any | None:
    """``bool [N]``: whether each picture is of one colour, so that nothing is on it; None without pictures."""
    tensors = given.values() if isinstance(given, Mapping) else given if isinstance(given, list | tuple) else [given]
    pictures = [x for x in tensors if tf.is_tensor(x) and x.dtype.is_floating and x.shape.rank == IMAGE]
    if not pictures:
        return None
    changes = [tf.reduce_max(measure_changes(tf.cast(x, tf.float32)), axis=1) for x in pictures]
    return (changes[0] if len(changes) == 1 else tf.add_n(changes)) <= 0


def find_marks(state: State) -> tuple[int, ...]:
    """Ids of a vocabulary's punctuation: ``!`` and ``?`` say nothing by themselves."""
    words = state.get("vocabulary")
    if words is None or np.asarray(words).dtype.kind not in "UO":
        return ()
    return tuple(FIRST_WORD + at for at, word in enumerate(words) if all(map(_is_punctuation, str(word))))


def _is_punctuation(character: str) -> bool:
    return unicodedata.category(character).startswith("P")


def count_words(ids: Any, marks: Sequence[int] = ()) -> Any | None:
    """``float32 [N,2]``: known and unknown words; None of what is no matrix of word ids.

    Args:
        marks: ids that are no words.
    """
    if not _are_words(ids):
        return None
    ids = tf.where(tf.reduce_any([ids == mark for mark in marks], axis=0), 0, ids) if marks else ids
    known, all_words = (
        tf.reduce_sum(tf.cast(ids >= first, tf.float32), axis=1) for first in (FIRST_WORD, FIRST_WORD - 1)
    )
    return tf.stack([known, all_words - known], axis=1)


def list_words(ids: Any) -> Any | None:
    """``uint8 [N,L]``: ids of common words; of all others ``COMMON - 1``. None of what is no matrix of word ids."""
    return tf.cast(tf.clip_by_value(ids, 0, COMMON - 1), tf.uint8) if _are_words(ids) else None


def _are_words(ids: Any) -> bool:
    return bool(tf.is_tensor(ids) and ids.dtype.is_integer and ids.shape.rank == VECTOR)
