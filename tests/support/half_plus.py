"""SavedModels that reveal themselves: version N computes x/2 + N, and counts its runs."""

from pathlib import Path
from typing import Any

import tensorflow as tf


class HalfPlus(tf.Module):  # type: ignore[misc]  # TensorFlow ships no types
    """Signatures of one version-revealing model. ``runs`` counts how often ``serving_default`` and ``slow`` ran."""

    def __init__(self, version: int) -> None:
        super().__init__()
        self.version = tf.constant(version, tf.int64)
        self.runs = tf.Variable(0, dtype=tf.int64)

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])  # type: ignore[untyped-decorator]
    def half_plus(self, x: Any) -> Any:
        self.runs.assign_add(1)
        return {"y": x / 2 + tf.cast(self.version, tf.float32), "version": self.version}

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32, name="steps")])  # type: ignore[untyped-decorator]
    def slow(self, steps: Any) -> Any:
        """Takes a few microseconds for each step."""
        self.runs.assign_add(1)
        sums = tf.while_loop(lambda i, _: i < steps, lambda i, s: (i + 1, s + tf.sin(s)), (0, 1.0))
        return {"sum": sums[1], "version": self.version}

    @tf.function(input_signature=[])  # type: ignore[untyped-decorator]
    def count(self) -> Any:
        return {"runs": tf.identity(self.runs)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])  # type: ignore[untyped-decorator]
    def parse(self, text: Any) -> Any:
        return {"number": tf.strings.to_number(text), "text": tf.strings.join(["<", text, ">"])}

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])  # type: ignore[untyped-decorator]
    def matrix(self, x: Any) -> Any:
        return {"y": tf.matmul(x, tf.eye(3))}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])  # type: ignore[untyped-decorator]
    def halve_precision(self, x: Any) -> Any:
        return {"half": tf.cast(x, tf.float16)}


def save(version: int, folder: Path) -> None:
    module = HalfPlus(version)
    signatures = {
        "serving_default": module.half_plus,
        "explain": module.half_plus,
        "slow": module.slow,
        "count": module.count,
        "parse": module.parse,
        "half": module.halve_precision,
        "matrix": module.matrix,
    }
    tf.saved_model.save(module, str(folder), signatures=signatures)
