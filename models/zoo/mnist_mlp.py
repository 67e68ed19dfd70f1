"""Which handwritten digit is it? One hidden layer: the small sibling of ``mnist_cnn``, and how little a model needs."""

from typing import Any

import keras

from modelyard import (
    Batches,
    Gate,
    ImageInput,
    ModelSpec,
    PreparedData,
    Recipe,
    Splits,
    State,
    choice,
    linear_range,
    log_range,
)
from modelyard.models.datasets.mnist import LABELS, MNIST, SIZE


def prepare(splits: Splits, recipe: Recipe) -> PreparedData:
    """Batches of images ``[B,28,28,1]``, 0..255, and class ids ``int32 [B]``."""
    train, validation = splits.train, splits.validation
    return PreparedData(
        train=Batches(train.x, train.y, recipe.batch_size, seed=recipe.seed, passes=recipe.passes(len(train))),
        validation=Batches(validation.x, validation.y, batch_size=500),
    )


def build(recipe: Recipe, state: State) -> Any:  # noqa: ARG001  # part of the contract; nothing here depends on them
    """``float32 [N,28,28,1]``, 0..255 -> probabilities ``[N,10]``."""
    return keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 1), name="images"),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(100, activation="relu"),
            keras.layers.Dense(len(LABELS), activation="softmax"),
        ],
        name="mnist_mlp",
    )


SPEC = ModelSpec(
    name="mnist_mlp",
    task="multiclass",
    summary="Which handwritten digit is it? (one hidden layer)",
    input=ImageInput(SIZE, SIZE),
    labels=LABELS,
    dataset=MNIST,
    recipes={
        "quick": Recipe(epochs=5, batch_size=128, min_steps=400, learning_rate=4e-3, keep="last"),
        "full": Recipe(epochs=20, batch_size=128, min_steps=400, learning_rate=4e-3, keep="last"),
    },
    gate=Gate(metric="accuracy", floor=0.97, sample_floor=0.85, max_drop=0.01),
    prepare=prepare,
    build=build,
    search={
        "learning_rate": log_range(5e-4, 0.03),
        "batch_size": choice(64, 128, 256),
        "weight_decay": log_range(1e-5, 0.1),
        "label_smoothing": linear_range(0, 0.1),
    },
)
