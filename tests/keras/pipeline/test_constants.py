"""Weights of an exported graph are constants, where they are small and nothing changes them."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from modelyard.models.data import Dataset, Split, Splits
from modelyard.models.inputs import VectorInput
from modelyard.models.recipes import Recipe
from modelyard.models.spec import ModelSpec, PreparedData
from modelyard.pipeline.exporting.constants import LARGEST_BYTES, choose_weights
from modelyard.pipeline.exporting.saved_model import write_saved_model

layers = keras.layers
X = np.random.default_rng(0).normal(0, 1, (4, 6)).astype(np.float32)
SPEC = ModelSpec(
    name="some",
    task="regression",
    input=VectorInput(6),
    dataset=Dataset(name="none", homepage="", read=lambda _: Splits(*[Split(np.zeros((1, 1)), np.zeros(1))] * 3)),
    prepare=lambda *_: PreparedData(None, None),
    build=lambda *_: None,
    recipes={"quick": Recipe()},
    explain=False,
)


def export(model: Any, folder: Path) -> Any:
    write_saved_model(SPEC, model, {}, {"vectors": X}, folder)
    return tf.saved_model.load(str(folder))


def list_operations(function: Any) -> set[str]:
    definition = function.graph.as_graph_def()
    nodes = [*definition.node, *(node for each in definition.library.function for node in each.node_def)]
    return {node.op for node in nodes}


def test_an_answer_reads_no_variable(tmp_path: Path) -> None:
    """Weights and running means are in the graph, which answers as the model does."""
    model = keras.Sequential([keras.Input((6,)), layers.Dense(5), layers.BatchNormalization(), layers.Dense(2)])
    for weight in model.weights:
        weight.assign(weight + 0.3)
    loaded = export(model, tmp_path / "graph")
    function = loaded.signatures["serving_default"]
    assert "ReadVariableOp" not in list_operations(function)
    np.testing.assert_allclose(function(vectors=tf.constant(X))["value"], model(X, training=False), atol=1e-6)


class Noise(layers.Layer):  # type: ignore[misc]  # Keras has no type information
    """Adds a number that it draws for each answer."""

    def __init__(self) -> None:
        super().__init__()
        self.draw = keras.random.SeedGenerator(1)

    def call(self, x: Any) -> Any:
        return x + keras.random.normal((1, 1), seed=self.draw)


class Count(layers.Layer):  # type: ignore[misc]  # Keras has no type information
    """Adds how often it was asked."""

    def build(self, _: Any) -> None:
        self.asked = self.add_weight(name="asked", shape=(), initializer="zeros", trainable=False)

    def call(self, x: Any) -> Any:
        self.asked.assign(self.asked + 1)
        return x + self.asked


@pytest.mark.parametrize("layer", [Noise(), Count()], ids=["a seed", "a state"])
def test_what_an_answer_changes_stays_a_variable(layer: Any, tmp_path: Path) -> None:
    """A model that draws numbers, or remembers, does so when it is served."""
    model = keras.Sequential([keras.Input((6,)), layers.Dense(1), layer])
    loaded = export(model, tmp_path / "graph")
    answers = [loaded.signatures["serving_default"](vectors=tf.constant(X))["value"].numpy() for _ in range(2)]
    assert np.abs(answers[0] - answers[1]).min() > 1e-3


def test_large_weights_stay_variables() -> None:
    """A table of megabytes is not written into a graph."""
    model = keras.Sequential([keras.Input((), dtype="int32"), layers.Embedding(LARGEST_BYTES // 16 + 1, 4)])
    model.add(layers.Dense(1))
    assert [variable.shape for variable, _ in choose_weights(model)] == [(4, 1), (1,)]
