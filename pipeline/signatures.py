"""The signatures of an exported version, by kind of input. TensorFlow code, for the export process only."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from modelyard.models.spec import ImageInput, ModelSpec, State, TextInput, VectorInput
from modelyard.models.types import Task

Outputs = dict[str, Any]


@dataclass(frozen=True)
class Endpoint:
    """One signature: a function of one named batch."""

    name: str
    function: Callable[[Any], Outputs]
    input: Any
    """A ``tf.TensorSpec`` with a batch dimension of any size."""


@dataclass(frozen=True)
class Endpoints:
    """All signatures of a version, ``serving_default`` first, and the resources that they use."""

    all: tuple[Endpoint, ...]
    resources: tuple[Any, ...] = ()


def build_endpoints(spec: ModelSpec, model: Any, state: State) -> Endpoints:
    """The signatures of ``spec``: ``serving_default`` for every kind, and ``image_bytes`` for images."""
    kind = spec.input
    if isinstance(kind, ImageInput):
        return _image_endpoints(kind, spec.task, model)
    if isinstance(kind, TextInput):
        return _text_endpoints(kind, spec.task, model, state)
    return _vector_endpoints(kind, spec.task, model)


def name_outputs(task: Task, raw: Any) -> Outputs:
    """``probabilities`` float32 [N,C] and ``class_id`` int64 [N], or for a regression ``value`` float32 [N,1]."""
    if task == "regression":
        return {"value": raw}
    probabilities = raw if task == "multiclass" else tf.concat([1.0 - raw, raw], axis=1)
    return {"probabilities": probabilities, "class_id": tf.argmax(probabilities, axis=1, output_type=tf.int64)}


def make_image_decoder(size: tuple[int, int]) -> Callable[[Any], Any]:
    """PNG or JPEG bytes -> float32 [height, width, 1], grey, 0..255; an image of this size is not resampled."""

    def decode(content: Any) -> Any:
        image = tf.io.decode_image(content, channels=1, expand_animations=False)
        image = tf.ensure_shape(tf.cast(image, tf.float32), (None, None, 1))
        same = tf.reduce_all(tf.equal(tf.shape(image)[:2], size))
        scaled = tf.cond(same, lambda: image, lambda: tf.image.resize(image, size, antialias=True))
        return tf.ensure_shape(scaled, (*size, 1))

    return decode


def _image_endpoints(kind: ImageInput, task: Task, model: Any) -> Endpoints:
    size = (kind.height, kind.width)

    def from_pixels(images: Any) -> Outputs:
        return name_outputs(task, model(images, training=False))

    decode = make_image_decoder(size)

    def from_bytes(image_bytes: Any) -> Outputs:
        shape = tf.TensorSpec((*size, 1), tf.float32)
        return from_pixels(tf.map_fn(decode, image_bytes, fn_output_signature=shape))

    pixels = tf.TensorSpec((None, *size, 1), tf.float32, name="images")
    encoded = tf.TensorSpec((None,), tf.string, name="image_bytes")
    return Endpoints((Endpoint("serving_default", from_pixels, pixels), Endpoint("image_bytes", from_bytes, encoded)))


def _text_endpoints(kind: TextInput, task: Task, model: Any, state: State) -> Endpoints:
    vectorise = kind.vectorise(state)

    def from_text(text: Any) -> Outputs:
        return name_outputs(task, model(vectorise(text), training=False))

    spec = tf.TensorSpec((None,), tf.string, name="text")
    return Endpoints((Endpoint("serving_default", from_text, spec),), resources=(vectorise,))


def _vector_endpoints(kind: VectorInput, task: Task, model: Any) -> Endpoints:
    def from_vectors(vectors: Any) -> Outputs:
        return name_outputs(task, model(vectors, training=False))

    spec = tf.TensorSpec((None, kind.size), tf.float32, name="vectors")
    return Endpoints((Endpoint("serving_default", from_vectors, spec),))
