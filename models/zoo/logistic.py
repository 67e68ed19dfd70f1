"""Which handwritten digit is it? Ten neurons, one for each digit: logistic regression, as most tutorials begin."""

from typing import Any

import keras

from modelyard import Batches, Gate, ImageInput, ModelSpec, PreparedData, Recipe, Splits, State, choice, log_range
from modelyard.models.datasets.mnist import LABELS, MNIST, SIZE


def prepare(splits: Splits, recipe: Recipe) -> PreparedData:
    """Batches of images ``[B,28,28,1]``, 0..255, and class ids ``int32 [B]``."""
    train, validation = splits.train, splits.validation
    return PreparedData(
        train=Batches(train.x, train.y, recipe.batch_size, seed=recipe.seed, passes=recipe.passes(len(train))),
        validation=Batches(validation.x, validation.y, batch_size=500),
    )


def build(recipe: Recipe, state: State) -> Any:  # noqa: ARG001  # part of the contract; nothing here depends on them
    """``float32 [N,28,28,1]``, 0..255 -> probabilities ``[N,10]``.

    Each neuron answers by itself how much an image looks like its digit, 0..1. Ten such answers do not add up to one:
    they are divided by their sum, in training, too.
    """
    images = keras.Input((SIZE, SIZE, 1), name="images")
    pixels = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(images))
    alike = keras.layers.Dense(len(LABELS), activation="sigmoid", name="neurons")(pixels)
    alike = alike + keras.config.epsilon()  # the sum of ten that are very small may be zero
    return keras.Model(images, alike / keras.ops.sum(alike, axis=1, keepdims=True), name="logistic")


SPEC = ModelSpec(
    name="logistic",
    task="multiclass",
    summary="Which handwritten digit is it? (ten neurons)",
    input=ImageInput(SIZE, SIZE),
    labels=LABELS,
    dataset=MNIST,
    recipes={
        "quick": Recipe(epochs=5, batch_size=128, min_steps=400, learning_rate=4e-3, keep="last"),
        "full": Recipe(epochs=20, batch_size=128, min_steps=400, learning_rate=4e-3, keep="last"),
    },
    gate=Gate(metric="accuracy", floor=0.91, sample_floor=0.85, max_drop=0.01),
    prepare=prepare,
    build=build,
    search={"learning_rate": log_range(5e-4, 0.03), "batch_size": choice(64, 128, 256)},
)
