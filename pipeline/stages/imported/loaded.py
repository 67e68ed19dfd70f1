"""Models in memory: a SavedModel with its signatures, and a Keras file. For the import process only."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.models.errors import ModelyardError
from modelyard.models.registry.manifest import SignatureSpec
from modelyard.models.types import Array
from modelyard.pipeline.errors import ImportRefused
from modelyard.pipeline.stages.imported.graph import SERVE

ERROR_CHARS = 300
CAUSE = "Exception encountered:"
"""What Keras writes between a whole configuration and the error."""


class CallFailed(ModelyardError):
    """The model refuses these inputs."""


class LoadedSignature:
    """A signature of a loaded SavedModel."""

    def __init__(self, function: Any, spec: SignatureSpec) -> None:
        self._function, self._spec = function, spec

    def __call__(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Raises ``CallFailed``."""
        import tensorflow as tf

        types = {tensor.name: tensor.dtype for tensor in self._spec.inputs}
        try:
            given = {name: make_tensor(values, types[name]) for name, values in inputs.items()}
            return {name: value.numpy() for name, value in self._function(**given).items()}
        except (tf.errors.OpError, ValueError, TypeError) as error:
            raise CallFailed(shorten(error)) from error


def make_tensor(values: Array, dtype: str) -> Any:
    import tensorflow as tf

    if values.dtype == object:
        return tf.reshape(tf.constant(values.ravel().tolist(), tf.string), values.shape)
    return tf.constant(values, dtype)


def load_saved_model(folder: Path) -> Any:
    """The model, whose variables have been read.

    Raises:
        ImportRefused: something in it is missing or damaged.
    """
    import tensorflow as tf

    try:
        return tf.saved_model.load(str(folder), tags=[SERVE])
    except (tf.errors.OpError, OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
        raise ImportRefused(f"it cannot be loaded: {shorten(error)}") from error


def load_keras(path: Path) -> Any:
    """The model of a ``.keras`` file. Code in it is not run (``safe_mode``).

    Raises:
        ImportRefused: it is damaged, or needs code that is not in it.
    """
    import keras

    if not zipfile.is_zipfile(path):
        raise ImportRefused(
            f"{path.name}: expected a file that Keras 3 saved, received something else or a damaged one"
        )
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except (ValueError, TypeError, LookupError, OSError, AttributeError, zipfile.BadZipFile) as error:
        raise ImportRefused(
            f"{path.name}: it cannot be loaded without code of its own, which is not run here (Lambda layers, classes "
            f"that Keras does not have): {shorten(error)}; export it where that code is, with `model.export(DIR)`"
        ) from error


def export_keras(model: Any, folder: Path) -> None:
    """Writes a SavedModel as ``model.export`` of Keras does.

    Raises:
        ImportRefused: the model was never built, so nothing says what it takes.
    """
    try:
        model.export(folder, format="tf_saved_model", verbose=False)
    except (ValueError, TypeError, AttributeError) as error:
        raise ImportRefused(f"Keras cannot export it: {shorten(error)}") from error


def call_keras(model: Any, inputs: Mapping[str, Array]) -> Array | None:
    """The only output of the model before its export; None where names do not say which input is which."""
    names = [tensor.name for tensor in model.inputs]
    if len(model.outputs) != 1 or not (len(names) == len(inputs) == 1 or set(names) == set(inputs)):
        return None
    given = [inputs[name] if name in inputs else next(iter(inputs.values())) for name in names]
    tensors = [make_tensor(values, "string" if values.dtype == object else values.dtype.name) for values in given]
    outputs = model(tensors if len(tensors) > 1 else tensors[0], training=False)
    return np.asarray(outputs)


def shorten(error: Exception) -> str:
    """An error on one line, without the configuration that Keras puts before it."""
    return " ".join(str(error).rpartition(CAUSE)[2].split())[:ERROR_CHARS] or type(error).__name__
