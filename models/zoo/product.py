"""What is a times b? A graph of one operation: nothing is learned, and it is served like any other version."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from modelyard import Dataset, FitRun, Gate, ModelSpec, NumberInput, PreparedData, Recipe, Split, Splits, State
from modelyard.models.types import Array


def draw_numbers(folder: Path) -> Splits:  # noqa: ARG001  # the contract reads from a folder; this is computed
    """Pairs of numbers, even in -100..100, and their products; always the same."""
    generator = np.random.default_rng(0)

    def pairs(count: int) -> Split:
        a, b = generator.uniform(-100, 100, (2, count)).astype(np.float32)
        return Split({"a": a, "b": b}, a * b)

    return Splits(train=pairs(100), validation=pairs(100), test=pairs(200))


def prepare(splits: Splits, recipe: Recipe) -> PreparedData:  # noqa: ARG001  # nothing is trained
    return PreparedData(train=None, validation=None)


def build(recipe: Recipe, state: State) -> Any:  # noqa: ARG001  # part of the contract; nothing here depends on them
    """Two ``float32 [N]`` -> their products ``[N]``; it has no weights."""
    a, b = keras.Input((), name="a"), keras.Input((), name="b")
    return keras.Model({"a": a, "b": b}, keras.layers.Multiply()([a, b]), name="product")


def fit(run: FitRun) -> None:
    """There is nothing to learn."""


def make_signatures(model: Any, state: State) -> dict[str, Callable[..., dict[str, Any]]]:  # noqa: ARG001
    """``serving_default``: two numbers -> ``value`` ``[N,1]``."""
    return {"serving_default": lambda a, b: {"value": model({"a": a, "b": b})[:, None]}}


def evaluate(predict: Callable[[Any], Mapping[str, Array]], split: Split) -> dict[str, float]:
    """The largest error of a product."""
    return {"max_error": float(np.abs(predict(split.x)["value"][:, 0] - split.y).max())}


SPEC = ModelSpec(
    name="product",
    task="regression",
    summary="What is a times b? (nothing is learned)",
    input={"a": NumberInput(), "b": NumberInput()},
    dataset=Dataset(
        name="pairs of numbers", homepage="https://en.wikipedia.org/wiki/Product_(mathematics)", read=draw_numbers
    ),
    recipes={"quick": Recipe(), "full": Recipe()},
    gate=Gate(metric="max_error", ceiling=0.0),
    prepare=prepare,
    build=build,
    fit=fit,
    evaluate=evaluate,
    metrics={"max_error": "lower"},
    signatures=make_signatures,
)
