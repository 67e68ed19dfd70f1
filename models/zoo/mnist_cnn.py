"""Which handwritten digit is it? Three convolutions, a pooling, a dense softmax; trained on slightly moved copies."""

import math
from functools import partial
from typing import Annotated, Any

import keras
import numpy as np
from pydantic import Field

from modelyard import (
    Batches,
    Card,
    Gate,
    ImageInput,
    Ink,
    ModelSpec,
    PreparedData,
    Recipe,
    Split,
    Splits,
    State,
    choice,
    linear_range,
    log_range,
    recipe,
)
from modelyard.models.datasets.mnist import LABELS, MNIST, SIZE
from modelyard.models.datasets.mnist_baseline import measure_baseline
from modelyard.models.images.ink_copies import add_noise, add_specks, blur_images, change_pens, normalise_strokes
from modelyard.models.images.layers import BatchNormalization, Conv2D
from modelyard.models.images.moving import Change, change_some, shift_images, transform_images
from modelyard.models.types import Array

IMAGES = ImageInput(SIZE, SIZE, ink=Ink())
_SENT = 1
_FAR = 36.0
"""Degrees that people turn digits by at most."""


@recipe
class MnistRecipe(Recipe):
    """The recipe of the digits' model."""

    channels: Annotated[
        int,
        Field(
            ge=2, le=256, description="Channels of the first convolution; the others have two and four times as many."
        ),
    ] = 16
    depth: Annotated[
        int, Field(ge=0, le=8, description="Convolutions after the pooling that are added to what they read.")
    ] = 0
    dropout: Annotated[float, Field(ge=0, lt=1, description="Dropout before the last layer.")] = 0.0
    norm_momentum: Annotated[
        float, Field(ge=0, lt=1, description="Momentum of batch normalisation's running mean and variance.")
    ] = 0.9
    shift: Annotated[float, Field(ge=0, le=8, description="Pixels that a training image is moved by at most.")] = 1.0
    rotation: Annotated[
        float, Field(ge=0, le=45, description="Degrees that a training image is turned by at most.")
    ] = 0.0
    scale: Annotated[
        float, Field(ge=0, le=0.5, description="Share that a training image is enlarged or shrunk by at most.")
    ] = 0.0
    redrawn: Annotated[
        float,
        Field(ge=0, le=1, description="Share of the training images turned by far, most by another pen."),
    ] = 0.0
    elastic: Annotated[
        float,
        Field(ge=0, le=4, description="Pixels that parts of a training image move against each other by at most, s.d."),
    ] = 0.0
    sent: Annotated[
        float,
        Field(ge=0, le=4, description="Copies of each training image, as people might send it; on average."),
    ] = 0.0


# --- data ---------------------------------------------------------------------------------------------------------


def prepare(splits: Splits, recipe: MnistRecipe) -> PreparedData:
    """Batches of images ``[B,28,28,1]``, 0..255, and class ids ``int32 [B]``."""
    train, validation = add_sent(splits.train, recipe), splits.validation
    return PreparedData(
        train=Batches(
            train.x,
            train.y,
            recipe.batch_size,
            seed=recipe.seed,
            augment=choose_augmentation(recipe),
            passes=recipe.passes(len(train)),
        ),
        validation=Batches(validation.x, validation.y, batch_size=500),
    )


def add_sent(train: Split, recipe: MnistRecipe) -> Split:
    """The training split, and copies of some as the graph sees what people send."""
    generator = np.random.default_rng((recipe.seed, _SENT))
    chosen = generator.permutation(np.arange(round(recipe.sent * len(train))) % len(train))
    if not len(chosen):
        return train
    x = [train.x] + [
        normalise_strokes(send_images(train.x[part], generator), IMAGES)
        for part in np.array_split(chosen, -(-len(chosen) // 2048))
    ]
    return Split(np.concatenate(x), np.concatenate([train.y, train.y[chosen]]))


def send_images(images: Array, generator: np.random.Generator) -> Array:
    """``uint8 [N,28,28,1]``, each changed in some of the ways that pens, hands and cameras have."""
    x = transform_images(images, generator, shift=3, rotation=15, scale=0.15)
    for share, change in (
        (0.65, partial(transform_images, shift=0.5, rotation=_FAR, scale=0.0)),
        (0.2, _shrink),
        (0.45, change_pens),
        (0.35, partial(blur_images, most=1.7)),
        (0.25, partial(add_noise, most=80)),
        (0.2, partial(add_specks, most=0.16)),
    ):
        chosen = np.flatnonzero(generator.random(len(x)) < share)
        if len(chosen):
            x[chosen] = change(x[chosen], generator)
    return np.clip(np.rint(x), 0, 255).astype(np.uint8)


def _shrink(images: Array, generator: np.random.Generator) -> Array:
    """Half as large, roughly: enlarged again by the normalisation, they are blurred."""
    return transform_images(images, generator, shift=2, rotation=0, scale=0.15, growth=-0.45)


def choose_augmentation(recipe: MnistRecipe) -> Change | None:
    """The cheapest function that does what the recipe asks for; None if that is nothing."""
    move = _choose_movement(recipe)
    return partial(change_some, move=move, change=redraw_images, share=recipe.redrawn) if recipe.redrawn else move


def redraw_images(images: Array, generator: np.random.Generator) -> Array:
    """``uint8 [N,28,28,1]`` turned by far, two thirds of them by another pen; cheap, as nothing is normalised.

    A little smaller, as the normalisation makes them: the longer side of what leans is shorter.
    """
    drawn = images.astype(np.float32)
    chosen = np.flatnonzero(generator.random(len(drawn)) < 2 / 3)
    drawn[chosen] = change_pens(drawn[chosen], generator)
    return transform_images(drawn, generator, shift=1, rotation=_FAR, scale=0.12, growth=-0.06)


def _choose_movement(recipe: MnistRecipe) -> Change | None:
    if recipe.rotation or recipe.scale or recipe.elastic or recipe.shift % 1:
        return partial(
            transform_images,
            shift=recipe.shift,
            rotation=recipe.rotation,
            scale=recipe.scale,
            elastic=recipe.elastic,
        )
    if recipe.shift:
        return partial(shift_images, pixels=int(recipe.shift))
    return None


# --- model --------------------------------------------------------------------------------------------------------


def build(recipe: MnistRecipe, state: State) -> Any:  # noqa: ARG001  # the contract passes a state; pixels need none
    """``float32 [N,28,28,1]``, 0..255 -> probabilities ``[N,10]``.

    Sized for processors: the first convolution quarters the area, the pooling does so again before the normalisation.
    """
    layers = keras.layers
    convolution = partial(layers.Conv2D, kernel_initializer="he_normal", use_bias=False)
    normalisation = partial(BatchNormalization, momentum=recipe.norm_momentum)
    images = keras.Input((SIZE, SIZE, 1), name="images")
    first = Conv2D(recipe.channels, 5, scale=1 / 255, strides=2, activation="relu", kernel_initializer="he_normal")
    x = convolution(2 * recipe.channels, 3)(first(images))
    x = normalisation(pool=True, activation="relu")(x)
    for _ in range(recipe.depth):
        changed = normalisation()(convolution(2 * recipe.channels, 3, padding="same")(x))
        x = layers.ReLU()(layers.Add()([x, changed]))
    x = normalisation(activation="relu")(convolution(4 * recipe.channels, 3)(x))
    x = layers.Dropout(recipe.dropout)(keras.ops.reshape(x, (-1, math.prod(x.shape[1:]))))
    return keras.Model(images, layers.Dense(len(LABELS), activation="softmax", name="digit")(x), name="mnist_cnn")


SPEC = ModelSpec(
    name="mnist_cnn",
    task="multiclass",
    summary="Which handwritten digit is it?",
    input=IMAGES,
    labels=LABELS,
    dataset=MNIST,
    recipes={
        "quick": MnistRecipe(
            epochs=5,
            batch_size=64,
            learning_rate=0.01,
            weight_decay=0.05,
            keep="last",
            min_steps=600,
            sent=0.35,
            redrawn=0.3,
        ),
        "full": MnistRecipe(
            epochs=18,
            batch_size=64,
            learning_rate=0.01,
            keep="last",
            min_steps=600,
            label_smoothing=0.05,
            channels=28,
            depth=1,
            ema=0.998,
            shift=1.5,
            rotation=10.0,
            scale=0.08,
            elastic=1.0,
            redrawn=0.1,
            sent=0.25,
        ),
        "gpu": MnistRecipe(
            epochs=60,
            batch_size=256,
            learning_rate=0.02,
            keep="last",
            min_steps=600,
            backend="jax",
            channels=48,
            dropout=0.2,
            ema=0.998,
            shift=1.5,
            rotation=12.0,
            scale=0.1,
            sent=1.0,
        ),
    },
    gate=Gate(metric="accuracy", floor=0.98, sample_floor=0.90, max_drop=0.005, max_ece=0.02),
    prepare=prepare,
    build=build,
    baseline=measure_baseline,
    card=Card(
        purpose="Reads one handwritten digit, 0 to 9, from a picture of it; an example of a whole pipeline.",
        made_for=(
            "one digit, drawn or written by hand: dark on light or light on dark, in one colour, on plain paper",
            "PNG or JPEG files of any size, with the digit anywhere in them, at least 10 pixels high",
        ),
        not_made_for=(
            "numbers of several digits, digits in running text, letters and signs",
            "decisions about people, money or safety without a person who checks",
        ),
        limits=(
            "It answers with a digit whatever it is shown: see what it does on pictures of none.",
            "About a third of all letters and signs are not flagged, and some of those are answered surely.",
            "Digits of 14 pixels, thick pens and blur are misread more often than the data set's.",
            "Digits of other scripts, and printed ones in unusual fonts, were not in its data.",
            "Turned by more than 30 degrees, a 6 and a 9 are the same.",
        ),
        data="MNIST: American census workers and high-school students, scanned in black and white around 1990.",
        license="Apache-2.0",
        measured="mnist_cnn.measured.json",
    ),
    search={
        "learning_rate": log_range(1e-3, 0.05),
        "batch_size": choice(32, 64, 128),
        "weight_decay": log_range(1e-5, 0.1),
        "dropout": linear_range(0, 0.5),
        "label_smoothing": linear_range(0, 0.1),
        "shift": linear_range(0, 2),
        "rotation": linear_range(0, 15),
        "scale": linear_range(0, 0.15),
    },
)
