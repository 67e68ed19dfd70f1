"""The default network on features: a linear model and a small multilayer perceptron beside it, added up.

The shape is that of a wide and deep model (Cheng et al. 2016, arXiv:1606.07792): on small tables the linear half alone
is hard to beat, and it keeps the other from doing worse.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from modelyard.models.data import Schema, Split, Splits
from modelyard.models.inputs import State
from modelyard.models.recipes import Recipe, recipe
from modelyard.models.spec import PreparedData
from modelyard.models.types import Array, Task

ACTIVATIONS: Mapping[Task, str] = {
    "multiclass": "softmax",
    "binary": "sigmoid",
    "multilabel": "sigmoid",
    "regression": "linear",
}


@recipe
class DenseRecipe(Recipe):
    """The recipe of the default network for tables and vectors."""

    units: Annotated[int, Field(ge=0, le=4096, description="Units of a hidden layer; 0 leaves a linear model.")] = 64
    layers: Annotated[int, Field(ge=0, le=8, description="Hidden layers; 0 leaves a linear model.")] = 2
    dropout: Annotated[float, Field(ge=0, lt=1, description="Dropout after each hidden layer.")] = 0.2


RECIPES: Mapping[str, Recipe] = {
    "quick": DenseRecipe(epochs=15, batch_size=32, min_steps=900, learning_rate=3e-3, weight_decay=0.01, patience=5),
    "full": DenseRecipe(
        epochs=60, min_steps=4_000, batch_size=32, learning_rate=1e-3, weight_decay=0.01, dropout=0.3, patience=10
    ),
}


def as_dense(given: Recipe) -> DenseRecipe:
    """The recipe, with the default shape where it has none: a spec may give a plain ``Recipe``, or one of its own."""
    known = {field.name for field in fields(DenseRecipe)}
    return DenseRecipe(**{name: value for name, value in vars(given).items() if name in known})


def learn_targets(schema: Schema, y: Array) -> dict[str, Array]:
    """Mean and deviation ``float32 [K]`` of numbers, which the network's answers are scaled by."""
    if schema.task != "regression":
        return {}
    values = y.reshape(len(y), -1).astype(np.float64)
    deviation = values.std(axis=0)
    return {
        "target/mean": values.mean(axis=0).astype(np.float32),
        "target/deviation": np.where(deviation > 0, deviation, 1).astype(np.float32),
    }


def to_targets(schema: Schema, split: Split) -> Array:
    """Targets as losses take them: numbers and yes or no as ``[N,K]``."""
    if schema.task == "multiclass":
        return split.y
    return split.y.reshape(len(split.y), -1).astype(np.float32)


def make_batches(
    schema: Schema,
    splits: Splits,
    recipe: Recipe,
    state: State,
    *,
    size: int,
    encode: Callable[[Any], Array] = lambda x: x,
    augment: Callable[[Any, np.random.Generator], Any] | None = None,
) -> PreparedData:
    """Batches of both parts, encoded at once.

    Args:
        size: examples of a batch of the validation part.
        encode: from raw inputs to what the model takes.
        augment: varies training inputs.
    """
    from modelyard.models.batches import Batches

    train, validation = splits.train, splits.validation
    return PreparedData(
        train=Batches(
            encode(train.x),
            to_targets(schema, train),
            recipe.batch_size,
            seed=recipe.seed,
            augment=augment,
            passes=recipe.passes(len(train)),
        ),
        validation=Batches(encode(validation.x), to_targets(schema, validation), batch_size=size),
        state=state,
    )


def build_head(features: Any, recipe: Recipe, state: State, schema: Schema) -> Any:
    """``float32 [N,F]`` standardised features -> probabilities or numbers ``[N,K]``."""
    import keras

    given, outputs = as_dense(recipe), count_outputs(schema, state)
    total = keras.layers.Dense(outputs, kernel_initializer="zeros", name="linear")(features)
    if given.units and given.layers:
        total = keras.layers.Add()([total, _build_deep(features, given, outputs)])
    if schema.task == "regression":
        return keras.layers.Rescaling(state["target/deviation"].tolist(), state["target/mean"].tolist())(total)
    return keras.layers.Activation(ACTIVATIONS[schema.task])(total)


def _build_deep(features: Any, recipe: DenseRecipe, outputs: int) -> Any:
    import keras

    hidden = features
    for _ in range(recipe.layers):
        hidden = keras.layers.Dense(recipe.units, activation="relu", kernel_initializer="he_normal")(hidden)
        hidden = keras.layers.Dropout(recipe.dropout)(hidden)
    return keras.layers.Dense(outputs, kernel_initializer="zeros", name="deep")(hidden)


def count_outputs(schema: Schema, state: State) -> int:
    """Numbers that the network gives for one example."""
    if schema.task == "regression":
        return len(state["target/mean"])
    return 1 if schema.task == "binary" else len(schema.labels)
