"""What a model of several inputs does if its spec does not say: rows become features inside the exported graph."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from modelyard.models.data import Schema, Splits
from modelyard.models.defaults.dense import RECIPES, build_head, learn_targets, make_batches
from modelyard.models.defaults.linear import measure_linear
from modelyard.models.defaults.row_state import check_kinds
from modelyard.models.errors import InvalidSpec
from modelyard.models.inputs import OneInput, State
from modelyard.models.recipes import Recipe
from modelyard.models.resolve import Defaults
from modelyard.models.spec import Baseline, PreparedData


def make_defaults(schema: Schema) -> Defaults:
    """Steps for several inputs by name: numbers, categories, texts, dates, vectors and images.

    ``state["features"]`` holds the names of the features that ``prepare`` makes of them: its length is the width of
    what a ``build`` of your own takes.

    Raises:
        InvalidSpec: an input or a task for which there is no default.
    """
    if not isinstance(schema.input, Mapping) or schema.task not in ("multiclass", "binary", "multilabel", "regression"):
        raise InvalidSpec(
            f"there is no default for a {schema.task} task on several inputs; give prepare, build and recipes"
        )
    check_kinds(schema.input)
    steps = TableSteps(schema, schema.input)
    return Defaults(
        recipes=RECIPES,
        prepare=steps.prepare,
        prepare_with_state=steps.prepare_with_state,
        build=steps.build,
        encode=steps.make_encode,
        baseline=steps.measure_baseline,
    )


@dataclass(frozen=True)
class TableSteps:
    """The steps for one schema."""

    schema: Schema
    inputs: Mapping[str, OneInput]

    def prepare(self, splits: Splits, recipe: Recipe) -> PreparedData:
        """Batches of features ``float32 [B,F]``, and what was learned to make them."""
        return self.prepare_with_state(splits, recipe, self._learn(splits))

    def prepare_with_state(self, splits: Splits, recipe: Recipe, state: State) -> PreparedData:
        """The same with what another version has learned."""
        return make_batches(self.schema, splits, recipe, state, size=1024, encode=partial(self._encode, state))

    def build(self, recipe: Recipe, state: State) -> Any:
        """``float32 [N,F]`` -> probabilities or numbers ``[N,K]``."""
        import keras

        features = keras.Input((len(state["features"]),), name="features")
        return keras.Model(features, build_head(features, recipe, state, self.schema), name="table")

    def make_encode(self, state: State) -> Any:
        """Raw tensors by name -> features, as part of the graph."""
        from modelyard.models.defaults.row_encoder import RowEncoder

        return RowEncoder(self.inputs, state)

    def measure_baseline(self, splits: Splits) -> Baseline:
        """Logistic or ridge regression on the same features."""
        state = self._learn(splits)
        return measure_linear(
            self.schema, splits, self._encode(state, splits.train.x), self._encode(state, splits.test.x)
        )

    def _learn(self, splits: Splits) -> State:
        from modelyard.models.defaults.row_encoder import learn_state

        return learn_state(self.inputs, splits.train.x) | learn_targets(self.schema, splits.train.y)

    def _encode(self, state: State, x: Any) -> Any:
        from modelyard.models.defaults.row_encoder import RowEncoder, encode_rows

        return encode_rows(RowEncoder(self.inputs, state), x)
