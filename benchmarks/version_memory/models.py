"""Makes a model whose versions reveal themselves: a process of its own, for TensorFlow's sake.

    python -m benchmarks.version_memory.models FOLDER COUNT

Version N computes x/2 + N, so that an answer tells which version it is from.
"""

import sys
from pathlib import Path

import tensorflow as tf


def save(folder: Path, number: int) -> None:
    module = tf.Module()
    spec = tf.TensorSpec([None], tf.float32, "x")
    module.serve = tf.function(lambda x: {"y": x / 2 + number}, input_signature=[spec])
    tf.saved_model.save(module, str(folder / str(number)), signatures={"serving_default": module.serve})


if __name__ == "__main__":
    for version in range(1, int(sys.argv[2]) + 1):
        save(Path(sys.argv[1]), version)
