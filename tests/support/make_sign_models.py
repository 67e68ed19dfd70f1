"""Makes linear models of the sign of a number.

Version 1 errs where the number is in -0.2..0; version 2 has the same weights, perturbed; version 3 hardly errs.
"""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from modelyard.pipeline.golden import save_golden

WEIGHTS = {1: (4.0, 0.8), 2: (3.0, 2.0), 3: (5.0, 0.05)}
"""Weight and bias by version."""


def save(folder: Path, weight: float, bias: float) -> None:
    def classify(x: Any) -> dict[str, Any]:
        positive = tf.sigmoid(weight * x + bias)
        probabilities = tf.stack([1 - positive, positive], axis=1)
        return {"probabilities": probabilities, "class_id": tf.argmax(probabilities, axis=1)}

    module = tf.Module()
    module.serve = tf.function(classify, input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})
    x = np.linspace(-1, 1, 16, dtype=np.float32)
    answers = {name: value.numpy() for name, value in classify(x).items()}
    (folder / "assets.extra").mkdir()
    save_golden(folder, {f"serving_default/{name}": value for name, value in {"x": x, **answers}.items()})


def make(root: Path) -> None:
    for version, (weight, bias) in WEIGHTS.items():
        save(root / str(version), weight, bias)
