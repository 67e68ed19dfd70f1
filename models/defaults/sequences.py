"""What a model of one sequence of numbers does if its spec does not say: convolutions, and an LSTM behind them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from modelyard.models.data import Schema, Splits
from modelyard.models.defaults.dense import learn_targets, make_batches
from modelyard.models.defaults.linear import measure_linear
from modelyard.models.defaults.outputs import build_output, complete_recipe, require_task
from modelyard.models.defaults.row_state import measure
from modelyard.models.errors import InvalidSpec
from modelyard.models.inputs import SequenceInput, State
from modelyard.models.recipes import Recipe, recipe
from modelyard.models.resolve import Defaults
from modelyard.models.spec import Baseline, PreparedData
from modelyard.models.types import Array

BASELINE_STEPS = 32


@recipe
class SequenceRecipe(Recipe):
    """The recipe of the default network for sequences."""

    filters: Annotated[int, Field(ge=4, le=512, description="Channels of the convolutions.")] = 32
    kernel_size: Annotated[int, Field(ge=1, le=31, description="Steps that a convolution sees at once.")] = 5
    stride: Annotated[int, Field(ge=1, le=8, description="Steps per step of the second convolution and the LSTM.")] = 2
    units: Annotated[int, Field(ge=4, le=512, description="Units of the LSTM.")] = 32
    dropout: Annotated[float, Field(ge=0, lt=1, description="Dropout before the last layer.")] = 0.2


RECIPES: Mapping[str, Recipe] = {
    "quick": SequenceRecipe(epochs=15, batch_size=32, min_steps=600, learning_rate=4e-3, clip_norm=1.0, keep="last"),
    "full": SequenceRecipe(
        epochs=40, batch_size=32, min_steps=3_000, learning_rate=4e-3, clip_norm=1.0, keep="last", filters=64, units=64
    ),
}


def make_defaults(schema: Schema) -> Defaults:
    """Steps for one sequence.

    Raises:
        InvalidSpec: a task for which there is no default.
    """
    if not isinstance(schema.input, SequenceInput):
        raise InvalidSpec(f"expected one sequence, received {schema.input!r}")
    require_task(schema, "a sequence")
    steps = SequenceSteps(schema, schema.input.size)
    return Defaults(
        recipes=RECIPES,
        prepare=steps.prepare,
        prepare_with_state=steps.prepare_with_state,
        build=steps.build,
        baseline=steps.measure_baseline,
    )


@dataclass(frozen=True)
class SequenceSteps:
    """The steps for sequences of ``size`` numbers a step."""

    schema: Schema
    size: int

    def prepare(self, splits: Splits, recipe: Recipe) -> PreparedData:
        """Batches of sequences ``float32 [B,T,size]``; means and variances of the numbers are learned."""
        mean, variance = measure(splits.train.x.reshape(-1, self.size))
        state = {"mean": mean, "variance": variance, **learn_targets(self.schema, splits.train.y)}
        return self.prepare_with_state(splits, recipe, state)

    def prepare_with_state(self, splits: Splits, recipe: Recipe, state: State) -> PreparedData:
        """The same with what another version has learned."""
        return make_batches(self.schema, splits, recipe, state, size=256)

    def build(self, recipe: Recipe, state: State) -> Any:
        """``float32 [N,T,size]`` of any length -> probabilities or numbers ``[N,K]``."""
        import keras

        from modelyard.models.text.fused_lstm import FusedLSTM

        given, layers = complete_recipe(recipe, SequenceRecipe), keras.layers
        sequences = keras.Input((None, self.size), name="sequences")
        x = layers.Normalization(mean=state["mean"], variance=state["variance"])(sequences)
        for stride in (1, given.stride):
            x = layers.Conv1D(given.filters, given.kernel_size, strides=stride, padding="same", activation="relu")(x)
        last = FusedLSTM(given.units, name="lstm")(x)
        x = layers.Concatenate()([last, layers.GlobalAveragePooling1D()(x), layers.GlobalMaxPooling1D()(x)])
        x = layers.Dropout(given.dropout)(x)
        return keras.Model(sequences, build_output(x, state, self.schema), name="sequence")

    def measure_baseline(self, splits: Splits) -> Baseline:
        """Logistic or ridge regression on the standardised numbers of up to ``BASELINE_STEPS`` steps."""
        mean, variance = measure(splits.train.x.reshape(-1, self.size))
        train, test = ((thin(split.x) - mean) / variance**0.5 for split in (splits.train, splits.test))
        return measure_linear(self.schema, splits, train.reshape(len(train), -1), test.reshape(len(test), -1))


def thin(x: Array) -> Array:
    """Up to ``BASELINE_STEPS`` of the steps of ``[N,T,size]``, evenly spaced."""
    return x[:, np.unique(np.linspace(0, x.shape[1] - 1, BASELINE_STEPS).astype(int))]
