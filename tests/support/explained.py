"""Tiny models whose explanation is known, exported and loaded."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from modelyard.models.data import Dataset
from modelyard.models.spec import ModelSpec
from modelyard.models.tfserving.messages import prediction_log_pb2
from modelyard.models.types import Array
from modelyard.pipeline.evaluation.exported import Signature
from modelyard.pipeline.exporting.operations import check_operations
from modelyard.pipeline.exporting.saved_model import write_saved_model
from modelyard.services.modelserver.lifecycle import tfrecord, warmup

NOWHERE = Dataset(name="none", homepage="", read=lambda _: None)  # type: ignore[arg-type, return-value]  # not read


class Encoder(tf.Module):  # type: ignore[misc]  # TensorFlow has no type information
    """A function between raw inputs and the model."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.function = function

    def __call__(self, raw: Any) -> Any:
        return self.function(raw)


def encode_by(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A spec's ``encode``, without a state."""
    return lambda _: Encoder(function)


def linear(weights: Any, bias: float = 0.0, activation: str = "linear", name: str = "vectors") -> Any:
    """``float32 [N,D]`` -> ``[N,K]`` by known weights ``[D]`` or ``[D,K]``."""
    kernel = np.asarray(weights, np.float32)
    kernel = kernel.reshape(len(kernel), -1)
    layer = keras.layers.Dense(kernel.shape[1], activation=activation)
    model = keras.Sequential([keras.Input((len(kernel),), name=name), layer])
    layer.set_weights([kernel, np.full(kernel.shape[1], bias, np.float32)])
    return model


def export(spec: ModelSpec, model: Any, raw: Mapping[str, Array], folder: Path) -> Any:
    """The exported version, loaded; ``raw`` is what it knows of usual values, too."""
    write_saved_model(spec, model, {}, raw, folder)
    check_operations(folder / "saved_model.pb")
    return tf.saved_model.load(str(folder))


def explain(loaded: Any, batch: Any, signature: str = "explain") -> dict[str, Array]:
    return Signature(loaded.signatures[signature])(batch)


def texts(*values: str) -> Array:
    return np.array(values, dtype=object)


def list_warmed_up(version: Path) -> list[tuple[str, int]]:
    """What a model server replays while it loads a version: signatures, each with a number of examples."""
    requests = [
        prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        for record in tfrecord.read_records(version / warmup.FILE)
    ]
    return [
        (request.model_spec.signature_name, next(iter(request.inputs.values())).tensor_shape.dim[0].size)
        for request in requests
    ]
