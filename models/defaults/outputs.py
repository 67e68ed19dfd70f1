"""The last layers of default networks, by task, and what a recipe has if a spec gives a plain one."""

from typing import Any, TypeVar

from modelyard.models.data import Schema
from modelyard.models.defaults.dense import ACTIVATIONS, count_outputs
from modelyard.models.errors import InvalidSpec
from modelyard.models.inputs import State
from modelyard.models.recipes import Recipe

R = TypeVar("R", bound=Recipe)


def build_output(features: Any, state: State, schema: Schema) -> Any:
    """``float32 [N,F]`` -> probabilities or numbers ``[N,K]``."""
    import keras

    total = keras.layers.Dense(count_outputs(schema, state), name="output")(features)
    if schema.task == "regression":
        return keras.layers.Rescaling(state["target/deviation"].tolist(), state["target/mean"].tolist())(total)
    return keras.layers.Activation(ACTIVATIONS[schema.task])(total)


def complete_recipe(given: Recipe, kind: type[R]) -> R:
    """The recipe, with defaults for the values that a plain ``Recipe`` of a spec lacks."""
    return given if isinstance(given, kind) else kind(**vars(given))


def require_task(schema: Schema, what: str) -> None:
    """Raises ``InvalidSpec`` for a task that has no default on this kind of input."""
    if schema.task not in ACTIVATIONS:
        raise InvalidSpec(f"there is no default for a {schema.task} task on {what}; give prepare, build and recipes")
