"""What is in the picture? Two handwritten digits and where they stand -> ``a seven left of a two``, word by word.

A convolutional encoder and an LSTM decoder, as in Show and Tell (Vinyals et al. 2014, arXiv:1411.4555), which looks at
one place of the picture for each word (Xu et al. 2015, arXiv:1502.03044; the weights of the places follow from the
decoder's state alone, the location-based attention of Luong et al. 2015, arXiv:1508.04025).
"""

from collections.abc import Callable
from typing import Annotated, Any

import keras
import numpy as np
from pydantic import Field

from modelyard import (
    Batches,
    Dataset,
    Gate,
    ImageInput,
    ModelSpec,
    PreparedData,
    Recipe,
    Split,
    Splits,
    State,
    log_range,
    recipe,
)
from modelyard.models.datasets.mnist import MNIST, SIZE, sample
from modelyard.models.types import Array

CANVAS = 2 * SIZE
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
WORDS = ("", "a", "an", "left", "of", "above", *DIGITS)
"""The first fills up a shorter text; the number after the last stands before the first word."""
STEPS, START = 6, len(WORDS)
PAIRS = 60_000
"""Pictures to learn from at most; a digit is in several."""


@recipe
class CaptionerRecipe(Recipe):
    """The recipe of the pictures' describer."""

    examples: Annotated[int, Field(ge=1, le=PAIRS, description="Pictures to learn from.")] = PAIRS
    channels: Annotated[int, Field(ge=2, le=256, description="Channels of the first convolution.")] = 16
    units: Annotated[int, Field(ge=4, le=1024, description="LSTM units of the decoder.")] = 64


# --- data ---------------------------------------------------------------------------------------------------------


def pair_digits(digits: Splits, train: int = PAIRS, test: int = 4000) -> Splits:
    """Pictures of two digits each and what they show; always the same, and each digit in one part only."""
    generator = np.random.default_rng(0)
    return Splits(
        train=draw_pairs(digits.train, train, generator),
        validation=draw_pairs(digits.validation, 1000, generator),
        test=draw_pairs(digits.test, test, generator),
    )


def draw_pairs(digits: Split, count: int, generator: np.random.Generator) -> Split:
    """``uint8 [count,56,56,1]`` and texts: one digit left of another or above it, each a few pixels off its place."""
    chosen = generator.integers(len(digits), size=(count, 2))
    above = generator.integers(2, size=count).astype(bool)
    along = np.clip(np.array([0, SIZE]) + generator.integers(-4, 5, (count, 2)), 0, SIZE)
    across = SIZE // 2 + generator.integers(-6, 7, (count, 2))
    tops, lefts = np.where(above[:, None], (along, across), (across, along))
    pictures = np.zeros((count, CANVAS, CANVAS, 1), np.uint8)
    for picture, *places in zip(pictures, chosen, tops, lefts, strict=True):
        for digit, top, left in zip(*places, strict=True):
            window = picture[top : top + SIZE, left : left + SIZE]
            np.maximum(window, digits.x[digit], out=window)  # their dark margins overlap
    texts = [describe(first, second, stacked) for (first, second), stacked in zip(digits.y[chosen], above, strict=True)]
    return Split(pictures, np.array(texts, dtype=object))


def describe(first: int, second: int, above: bool) -> str:
    """``a seven left of an eight``."""
    names = [f"{'an' if DIGITS[digit] == 'eight' else 'a'} {DIGITS[digit]}" for digit in (first, second)]
    return (" above " if above else " left of ").join(names)


def prepare(splits: Splits, recipe: CaptionerRecipe) -> PreparedData:
    """Batches of images ``[B,56,56,1]`` with the words before (teacher forcing), and the words, both ``[B,6]``."""

    def batches(split: Split, size: int, seed: int | None = None) -> Batches:
        words = to_words(split.y)
        before = np.roll(words, 1, axis=1)
        before[:, 0] = START
        passes = 1 if seed is None else recipe.passes(len(split))
        return Batches({"images": split.x, "before": before}, words, size, seed=seed, passes=passes)

    train = Split(splits.train.x[: recipe.examples], splits.train.y[: recipe.examples])
    return PreparedData(batches(train, recipe.batch_size, recipe.seed), batches(splits.validation, 500))


def to_words(texts: Array) -> Array:
    """``object [N]`` of ``str`` -> places in ``WORDS``, ``int32 [N,6]``."""
    found = np.zeros((len(texts), STEPS), np.int32)
    for row, text in zip(found, texts, strict=True):
        words = text.split()
        row[: len(words)] = [WORDS.index(word) for word in words]
    return found


# --- model --------------------------------------------------------------------------------------------------------


def build(recipe: CaptionerRecipe, state: State) -> Any:  # noqa: ARG001  # part of the contract; words need no state
    """Images ``[N,56,56,1]``, 0..255, and the words before ``[N,6]`` -> probabilities of each word ``[N,6,16]``."""
    layers, channels = keras.layers, recipe.channels
    images = keras.Input((CANVAS, CANVAS, 1), name="images")
    before = keras.Input((STEPS,), dtype="int32", name="before")
    x = layers.Rescaling(1 / 255)(images)
    x = layers.Conv2D(channels, 5, strides=2, activation="relu")(x)
    for factor in (2, 4):
        x = layers.Conv2D(factor * channels, 3, use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(layers.MaxPooling2D()(x)))
    seen = layers.Reshape((-1, 4 * channels))(x)
    h, c = (layers.Dense(recipe.units, activation="tanh")(layers.Flatten()(x)) for _ in range(2))
    viewer = keras.Model(images, [seen, h, c], name="viewer")
    seen, h, c = viewer(images)
    known = layers.Embedding(len(WORDS) + 1, 32, name="words")(before)
    said = layers.LSTM(recipe.units, return_sequences=True, name="decoder")(known, initial_state=[h, c])
    gaze = layers.Dense(seen.shape[1], activation="softmax", name="gaze")(said)
    looked = layers.Dot((2, 1), name="looked")([gaze, seen])
    answer = layers.Dense(len(WORDS), activation="softmax", name="answer")(layers.Concatenate()([said, looked]))
    return keras.Model({"images": images, "before": before}, answer, name="captioner")


def make_signatures(model: Any, state: State) -> dict[str, Callable[..., dict[str, Any]]]:  # noqa: ARG001
    """``serving_default``: images -> ``text``, the likeliest word at each step."""
    import tensorflow as tf

    layer = model.get_layer

    def caption(images: Any) -> dict[str, Any]:
        seen, *memory = layer("viewer")(images)
        word = tf.fill(tf.shape(images)[:1], START)
        said = []
        for _ in range(STEPS):
            found, memory = layer("decoder").cell(layer("words")(word), memory)
            looked = layer("looked")([layer("gaze")(found)[:, None], seen])[:, 0]
            word = tf.argmax(layer("answer")(tf.concat([found, looked], axis=1)), axis=1, output_type=tf.int32)
            said.append(tf.gather(tf.constant(WORDS), word))
        return {"text": tf.strings.strip(tf.strings.reduce_join(tf.stack(said, axis=1), axis=1, separator=" "))}

    return {"serving_default": caption}


PICTURES = Dataset(
    name="pairs of mnist digits",
    homepage=MNIST.homepage,
    files=MNIST.files,
    read=lambda folder: pair_digits(MNIST.read(folder)),
    sample=lambda: pair_digits(sample()),
    sample_name=f"pairs of {MNIST.sample_name}",
)

_SHARED: dict[str, Any] = {"batch_size": 64, "learning_rate": 5e-3, "clip_norm": 1.0, "keep": "last"}

SPEC = ModelSpec(
    name="captioner",
    task="text",
    summary="What is in the picture? (two handwritten digits)",
    input=ImageInput(CANVAS, CANVAS),
    dataset=PICTURES,
    recipes={
        "quick": CaptionerRecipe(epochs=3, examples=40_000, **_SHARED),
        "full": CaptionerRecipe(epochs=6, **_SHARED),
    },
    gate=Gate(metric="exact", floor=0.97, sample_floor=0.90, max_drop=0.01),
    prepare=prepare,
    build=build,
    loss="sparse_categorical_crossentropy",
    signatures=make_signatures,
    search={"learning_rate": log_range(1e-3, 0.02)},
)
