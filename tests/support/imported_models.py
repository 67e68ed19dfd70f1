"""SavedModels and Keras files as others make them, to be imported."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

LABELS = ("low", "middle", "high")
WEIGHTS = np.array([[-8.0, 0.0, 8.0], [0.0, 0.0, 0.0]], np.float32)
BIAS = np.array([0.0, 2.0, 0.0], np.float32)


def make_classifier(scale: float = 1.0) -> Any:
    """Two numbers -> three classes, by the first number: below -0.25, around 0, above 0.25."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, activation="softmax")])
    model.layers[0].set_weights([scale * WEIGHTS, BIAS])
    return model


def save_classifier(folder: Path, scale: float = 1.0) -> Path:
    """As Keras 3's ``model.export``."""
    make_classifier(scale).export(folder, verbose=False)
    return folder


def save_two_inputs(folder: Path) -> Path:
    """A sum of two inputs, weighed."""
    left, right = keras.Input((3,), name="left"), keras.Input((2,), name="right")
    total = keras.layers.Dense(1, kernel_initializer="ones")(keras.layers.Concatenate()([left, right]))
    keras.Model({"left": left, "right": right}, total).export(folder, verbose=False)
    return folder


def save_function(folder: Path, function: Any, *specs: Any, **others: Any) -> Path:
    """As ``tf.saved_model.save`` of a module with one function; ``others`` are functions of further signatures."""
    module = tf.Module()
    module.serve = tf.function(function, input_signature=specs)
    signatures = {"serving_default": module.serve}
    for name, (other, *shapes) in others.items():
        signatures[name] = tf.function(other, input_signature=shapes)
        setattr(module, name, signatures[name])
    tf.saved_model.save(module, str(folder), signatures=signatures)
    return folder


def save_test_data(path: Path, rows: int = 60, *, wrong: float = 0.0) -> Path:
    """Rows and their classes; a share of them wrong."""
    generator = np.random.default_rng(0)
    x = generator.uniform(-1, 1, (rows, 2)).astype(np.float32)
    y = 1 + (x[:, 0] > 0.25).astype(int) - (x[:, 0] < -0.25)
    y[: int(wrong * rows)] = (y[: int(wrong * rows)] + 1) % 3
    if path.suffix == ".npz":
        np.savez(path, x=x, y=y)
    elif path.suffix == ".csv":
        lines = [f"{a},{b},{LABELS[k]}" for (a, b), k in zip(x, y, strict=True)]
        path.write_text("\n".join(["first,second,y", *lines]))
    else:
        path.write_text("\n".join(f'{{"x": [{a}, {b}], "y": {k}}}' for (a, b), k in zip(x, y, strict=True)))
    return path
