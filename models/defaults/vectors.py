"""What a model of one vector does if its spec does not say; the numbers are standardised inside the model."""

from dataclasses import dataclass
from typing import Any

from modelyard.models.data import Schema, Splits
from modelyard.models.defaults.dense import RECIPES, build_head, learn_targets, make_batches
from modelyard.models.defaults.linear import measure_linear
from modelyard.models.defaults.outputs import require_task
from modelyard.models.defaults.row_state import measure
from modelyard.models.errors import InvalidSpec
from modelyard.models.inputs import State, VectorInput
from modelyard.models.recipes import Recipe
from modelyard.models.resolve import Defaults
from modelyard.models.spec import Baseline, PreparedData


def make_defaults(schema: Schema) -> Defaults:
    """Steps for one vector.

    Raises:
        InvalidSpec: a task for which there is no default.
    """
    if not isinstance(schema.input, VectorInput):
        raise InvalidSpec(f"expected one vector, received {schema.input!r}")
    require_task(schema, "a vector")
    steps = VectorSteps(schema, schema.input.size)
    return Defaults(
        recipes=RECIPES,
        prepare=steps.prepare,
        prepare_with_state=steps.prepare_with_state,
        build=steps.build,
        baseline=steps.measure_baseline,
    )


@dataclass(frozen=True)
class VectorSteps:
    """The steps for vectors of one size."""

    schema: Schema
    size: int

    def prepare(self, splits: Splits, recipe: Recipe) -> PreparedData:
        """Batches of vectors ``float32 [B,D]``, and their means and variances."""
        mean, variance = measure(splits.train.x)
        state = {"mean": mean, "variance": variance, **learn_targets(self.schema, splits.train.y)}
        return self.prepare_with_state(splits, recipe, state)

    def prepare_with_state(self, splits: Splits, recipe: Recipe, state: State) -> PreparedData:
        """The same with what another version has learned."""
        return make_batches(self.schema, splits, recipe, state, size=1024)

    def build(self, recipe: Recipe, state: State) -> Any:
        """``float32 [N,D]`` -> probabilities or numbers ``[N,K]``."""
        import keras

        vectors = keras.Input((self.size,), name="vectors")
        scaled = keras.layers.Normalization(mean=state["mean"], variance=state["variance"])(vectors)
        return keras.Model(vectors, build_head(scaled, recipe, state, self.schema), name="vector")

    def measure_baseline(self, splits: Splits) -> Baseline:
        """Logistic or ridge regression on the standardised numbers."""
        mean, variance = measure(splits.train.x)
        train, test = ((split.x - mean) / variance**0.5 for split in (splits.train, splits.test))
        return measure_linear(self.schema, splits, train, test)
