"""The smallest trainable model: one linear unit finds the line ``y = w x + b`` behind noisy points."""

from pathlib import Path
from typing import Any

import keras
import numpy as np

from modelyard import (
    Batches,
    Dataset,
    Gate,
    ModelSpec,
    PreparedData,
    Recipe,
    Split,
    Splits,
    State,
    VectorInput,
    choice,
    log_range,
)

WEIGHT, BIAS, NOISE = 2.0, -1.0, 0.1


def generate_points(folder: Path) -> Splits:  # noqa: ARG001  # the contract reads from a folder; this is computed
    """Points with ``x`` even in -1..1 and Gaussian noise (standard deviation ``NOISE``) on ``y``; always the same."""
    generator = np.random.default_rng(0)

    def points(count: int) -> Split:
        x = generator.uniform(-1, 1, (count, 1)).astype(np.float32)
        y = WEIGHT * x[:, 0] + BIAS + generator.normal(0, NOISE, count)
        return Split(x, y.astype(np.float32))

    return Splits(train=points(800), validation=points(100), test=points(100))


def prepare(splits: Splits, recipe: Recipe) -> PreparedData:
    """Batches ``(float32 [B,1], float32 [B,1])``."""
    train, validation = splits.train, splits.validation
    return PreparedData(
        train=Batches(train.x, train.y[:, None], recipe.batch_size, seed=recipe.seed),
        validation=Batches(validation.x, validation.y[:, None], batch_size=100),
    )


def build(recipe: Recipe, state: State) -> Any:  # noqa: ARG001  # part of the contract; nothing here depends on them
    """``float32 [N,1]`` -> ``[N,1]``."""
    return keras.Sequential([keras.Input((1,), name="vectors"), keras.layers.Dense(1, name="neuron")], name="neuron")


LINE = Dataset(name="noisy line", homepage="https://en.wikipedia.org/wiki/Linear_regression", read=generate_points)

SPEC = ModelSpec(
    name="neuron",
    task="regression",
    summary="Which number follows from x? (one linear unit)",
    input=VectorInput(1),
    labels=(),
    dataset=LINE,
    recipes={
        "quick": Recipe(epochs=10, batch_size=16, optimizer="sgd", learning_rate=0.05, keep="last"),
        "full": Recipe(epochs=50, batch_size=16, optimizer="sgd", learning_rate=0.05, keep="last"),
    },
    gate=Gate(metric="r2", floor=0.98, sample_floor=0.98, max_drop=0.01),
    prepare=prepare,
    build=build,
    search={"learning_rate": log_range(0.002, 0.5), "batch_size": choice(8, 16, 32, 64)},
)
