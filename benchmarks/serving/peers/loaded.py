"""What every peer has in common: the same SavedModel, loaded and called in the quickest way TensorFlow has."""

import gc
import os
from pathlib import Path
from typing import Any

STORE = "BENCH_STORE"
"""Names the folder of the models, in TensorFlow Serving's layout."""
MODELS = ("mnist_cnn", "sentiment_lstm")


def newest(store: Path, model: str) -> Path:
    """The version that is served: the highest number."""
    return max((path for path in (store / model).iterdir() if path.name.isdecimal()), key=lambda path: int(path.name))


class Model:
    """One SavedModel in this process."""

    def __init__(self, name: str) -> None:
        import tensorflow as tf

        self._tf = tf
        self._loaded = tf.saved_model.load(str(newest(Path(os.environ[STORE]), name)))
        self._call = self._loaded.signatures["serving_default"]
        ((self._input, spec),) = self._call.structured_input_signature[1].items()
        self._dtype = spec.dtype
        example = "a" if spec.dtype == tf.string else [[[0.0]] * 28] * 28
        self.predict([example])

    def outputs(self, instances: Any) -> dict[str, Any]:
        """Arrays by name for a batch: nested lists or an array, the batch first."""
        # tf.constant reads nested lists nine times as fast as numpy.asarray does
        found = self._call(**{self._input: self._tf.constant(instances, self._dtype)})
        return {name: tensor.numpy() for name, tensor in found.items()}

    def predict(self, instances: Any) -> list[dict[str, Any]]:
        """One row per instance: every output by name, ready for JSON."""
        columns = {name: array.tolist() for name, array in self.outputs(instances).items()}
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def freeze() -> None:
    """The garbage collector skips what the loaded models allocated."""
    gc.collect()
    gc.freeze()
