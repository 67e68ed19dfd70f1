"""A model in TensorFlow Serving's layout, made as its own tests make theirs: half_plus_two with examples as inputs."""

from pathlib import Path
from typing import Any

import tensorflow as tf

from modelyard.models.tfserving.messages import example_pb2, input_pb2

v1 = tf.compat.v1
CLASSIFY, PREDICT, REGRESS = (f"tensorflow/serving/{method}" for method in ("classify", "predict", "regress"))


def save_half_plus_two(folder: Path) -> None:
    """Signatures over ``x`` ``float32 [n,1]``: predict from numbers; regress and classify from serialized examples."""
    with v1.Graph().as_default(), v1.Session() as session:
        a, b = v1.get_variable("a", initializer=0.5), v1.get_variable("b", initializer=2.0)
        examples = v1.placeholder(tf.string, [None], "examples")
        features = {"x": v1.io.FixedLenFeature([1], tf.float32), "who": v1.io.FixedLenFeature([1], tf.string, b"?")}
        parsed = v1.io.parse_example(examples, features)
        x = v1.placeholder(tf.float32, [None, 1], "x")
        session.run(v1.global_variables_initializer())
        y = a * parsed["x"] + b
        labels, scores = tf.concat([parsed["who"], parsed["who"]], 1), tf.concat([y, -y], 1)
        signatures = {
            "serving_default": signature(PREDICT, {"x": x}, {"y": tf.add(a * x, b, "y")}),
            "regress": signature(REGRESS, {"inputs": examples}, {"outputs": y}),
            "classify": signature(CLASSIFY, {"inputs": examples}, {"classes": labels, "scores": scores}),
            "only_scores": signature(CLASSIFY, {"inputs": examples}, {"scores": scores}),
            "only_classes": signature(CLASSIFY, {"inputs": examples}, {"classes": labels}),
            "wide": signature(REGRESS, {"inputs": examples}, {"outputs": scores}),
            "text": signature(REGRESS, {"inputs": examples}, {"outputs": parsed["who"]}),
            "flat": signature(CLASSIFY, {"inputs": examples}, {"scores": tf.reshape(y, [-1])}),
            "whole": signature(CLASSIFY, {"inputs": examples}, {"scores": tf.reshape(y, [1, -1])}),
            "number_classes": signature(CLASSIFY, {"inputs": examples}, {"classes": scores}),
            "untrue": signature(PREDICT, {"inputs": examples}, {"outputs": y}),
        }
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map=signatures)
        builder.save()


def signature(method: str, inputs: dict[str, Any], outputs: dict[str, Any]) -> Any:
    info = v1.saved_model.build_tensor_info
    return v1.saved_model.build_signature_def(
        {name: info(tensor) for name, tensor in inputs.items()},
        {name: info(tensor) for name, tensor in outputs.items()},
        method,
    )


def example(**features: Any) -> example_pb2.Example:
    """Numbers become a float feature, ``bytes`` a bytes feature."""
    made = example_pb2.Example()
    for name, value in features.items():
        kind = made.features.feature[name]
        (kind.bytes_list.value if isinstance(value, bytes) else kind.float_list.value).append(value)
    return made


def examples(*given: example_pb2.Example, context: example_pb2.Example | None = None) -> input_pb2.Input:
    if context is None:
        return input_pb2.Input(example_list={"examples": given})
    return input_pb2.Input(example_list_with_context={"examples": given, "context": context})
