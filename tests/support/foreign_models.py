"""SavedModels as others make them: of TensorFlow 2 with signatures of every method, of odd types and shapes."""

from pathlib import Path
from typing import Any

import tensorflow as tf

from tests.support.modelserver_examples import PREDICT, signature

v1 = tf.compat.v1
EXAMPLES = [tf.TensorSpec([None], tf.string, name="inputs")]


class Native(tf.Module):  # type: ignore[misc]  # TensorFlow ships no types
    """half_plus_two of TensorFlow 2: each signature is a function with a placeholder of its own."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])  # type: ignore[untyped-decorator]
    def predict(self, x: Any) -> Any:
        return {"y": x / 2 + 2}

    @tf.function(input_signature=EXAMPLES)  # type: ignore[untyped-decorator]
    def classify(self, inputs: Any) -> Any:
        return {"scores": half_plus_two(inputs)}

    @tf.function(input_signature=EXAMPLES)  # type: ignore[untyped-decorator]
    def regress(self, inputs: Any) -> Any:
        return {"outputs": half_plus_two(inputs)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="waveform")])  # type: ignore[untyped-decorator]
    def loudness(self, waveform: Any) -> Any:
        """Takes one input without a batch axis, and gives a scalar."""
        return {"mean": tf.reduce_mean(waveform), "frames": tf.reshape(waveform, [-1, 4])}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])  # type: ignore[untyped-decorator]
    def spectrum(self, x: Any) -> Any:
        return {"bins": tf.cast(x, tf.complex64), "y": x / 2 + 2}

    @tf.function(input_signature=[])  # type: ignore[untyped-decorator]
    def constant(self) -> Any:
        return {"one": tf.constant([1.0])}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.bfloat16, name="x")])  # type: ignore[untyped-decorator]
    def brain(self, x: Any) -> Any:
        return {"y": tf.cast(x, tf.float32)}


def half_plus_two(examples: Any) -> Any:
    return tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([1], tf.float32)})["x"] / 2 + 2


def save_native(folder: Path) -> None:
    module = Native()
    signatures = {
        "serving_default": module.predict,
        "classify_x_to_y": module.classify,
        "regress_x_to_y": module.regress,
        "loudness": module.loudness,
        "spectrum": module.spectrum,
        "constant": module.constant,
        "brain": module.brain,
    }
    tf.saved_model.save(module, str(folder), signatures=signatures)


def save_variable(folder: Path) -> None:
    """A graph of TensorFlow 1 whose output is a variable itself, and so of a reference type."""
    with v1.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None], "x")
        weights = v1.get_variable("weights", initializer=[1.0, 2.0], use_resource=False)
        session.run(v1.global_variables_initializer())
        signatures = {"serving_default": signature(PREDICT, {"x": x}, {"y": x / 2 + 2, "weights": weights})}
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map=signatures)
        builder.save()
