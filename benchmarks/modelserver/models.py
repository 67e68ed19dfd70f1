"""Makes the models that ``benchmarks.modelserver`` serves, untrained: a process of its own, for TensorFlow's sake."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from benchmarks.modelserver.__main__ import make_inputs
from modelyard.models.tfserving.messages import fill_proto, prediction_log_pb2


def tiny(folder: Path) -> None:
    """``x/2 + 2``, for ``float32 [B,3]``."""
    module = tf.Module()
    module.two = tf.Variable(2.0)
    spec = tf.TensorSpec([None, 3], tf.float32, "x")
    module.serve = tf.function(lambda x: {"y": x / 2 + module.two}, input_signature=[spec])
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})


def cnn(folder: Path) -> None:
    """Three convolutions over ``uint8 [B,28,28,1]``, a dense softmax."""
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(16, 3, strides=2, activation="relu"),
            layers.Conv2D(32, 3, strides=2, activation="relu"),
            layers.Conv2D(64, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10, activation="softmax"),
        ]
    )
    export(
        folder, [model], lambda x: {"y": model(tf.cast(x, tf.float32))}, tf.TensorSpec([None, 28, 28, 1], tf.uint8, "x")
    )


def lstm(folder: Path) -> None:
    """Words looked up in a table in the graph, an embedding, a bidirectional LSTM of 32 over 200 words."""
    layers = keras.layers
    words = [*(f"word{number}" for number in range(5000)), *"one of the best films i have seen".split()]  # noqa: SIM905
    vectorize = layers.TextVectorization(output_sequence_length=200, vocabulary=words)
    vectorize(tf.constant(["one"]))  # builds it
    model = keras.Sequential(
        [
            keras.Input((200,), dtype="int64"),
            layers.Embedding(len(words) + 2, 32),
            layers.Bidirectional(layers.LSTM(32)),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    export(folder, [model, vectorize], lambda x: {"y": model(vectorize(x))}, tf.TensorSpec([None], tf.string, "x"))


def export(folder: Path, layers: Sequence[Any], call: Callable[[Any], Any], spec: Any) -> None:
    """As Keras exports: ``tf.saved_model.save`` leaves its variables where only Python finds them."""
    archive = keras.export.ExportArchive()
    for layer in layers:
        archive.track(layer)
    archive.add_endpoint("serving_default", call, input_signature=[spec])
    archive.write_out(str(folder), verbose=False)


def record_warmup(folder: Path, model: str) -> None:
    """One row, as our own exports record it: the first runs of a graph cost many times the later ones."""
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.model_spec.name = model
    fill_proto(log.predict_log.request.inputs["x"], make_inputs(model, 1))
    (folder / "assets.extra").mkdir()
    with tf.io.TFRecordWriter(str(folder / "assets.extra" / "tf_serving_warmup_requests")) as writer:
        for _ in range(3):
            writer.write(log.SerializeToString())


if __name__ == "__main__":
    for make in (tiny, cnn, lstm):
        version = Path(sys.argv[1]) / make.__name__ / "1"
        make(version)
        record_warmup(version, make.__name__)
