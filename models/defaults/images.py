"""What a model of one image does if its spec does not say: a small convolutional network."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from modelyard.models.data import Schema, Splits
from modelyard.models.defaults.dense import learn_targets, make_batches
from modelyard.models.defaults.linear import measure_linear
from modelyard.models.defaults.outputs import build_output, complete_recipe, require_task
from modelyard.models.errors import InvalidSpec
from modelyard.models.inputs import ImageInput, State
from modelyard.models.recipes import Recipe, recipe
from modelyard.models.resolve import Defaults
from modelyard.models.spec import Baseline, PreparedData
from modelyard.models.types import Array

SMALLEST_SIDE = 6
"""Convolutions halve the sides until the shorter one has no more pixels than this."""
BASELINE_SIDE = 16
MIN_WIDENING, MAX_WIDENING = 4, 8
"""There are two convolutions at least; none has more than so many times the channels of the first."""


@recipe
class ImageRecipe(Recipe):
    """The recipe of the default network for images."""

    channels: Annotated[
        int, Field(ge=4, le=256, description="Channels of the first convolution; each further one has twice as many.")
    ] = 16
    dropout: Annotated[float, Field(ge=0, lt=1, description="Dropout before the last layer.")] = 0.2
    shift: Annotated[
        float, Field(ge=0, le=0.5, description="Share of its side that a training image is moved by at most.")
    ] = 0.06
    flip: Annotated[
        bool, Field(description="Mirror half of the training images: only where left and right mean the same.")
    ] = False


RECIPES: Mapping[str, Recipe] = {
    "quick": ImageRecipe(epochs=10, batch_size=32, min_steps=400, learning_rate=4e-3, keep="last"),
    "full": ImageRecipe(
        epochs=40, batch_size=32, min_steps=2_500, learning_rate=4e-3, keep="last", channels=24, label_smoothing=0.05
    ),
}


def make_defaults(schema: Schema) -> Defaults:
    """Steps for one image.

    Raises:
        InvalidSpec: a task for which there is no default.
    """
    if not isinstance(schema.input, ImageInput):
        raise InvalidSpec(f"expected one image, received {schema.input!r}")
    require_task(schema, "an image")
    steps = ImageSteps(schema, schema.input)
    return Defaults(
        recipes=RECIPES,
        prepare=steps.prepare,
        prepare_with_state=steps.prepare_with_state,
        build=steps.build,
        baseline=steps.measure_baseline,
    )


@dataclass(frozen=True)
class ImageSteps:
    """The steps for images of one size."""

    schema: Schema
    kind: ImageInput

    def prepare(self, splits: Splits, recipe: Recipe) -> PreparedData:
        """Batches of images ``[B,height,width,channels]``, 0..255; training ones are moved, and mirrored if asked."""
        return self.prepare_with_state(splits, recipe, learn_targets(self.schema, splits.train.y))

    def prepare_with_state(self, splits: Splits, recipe: Recipe, state: State) -> PreparedData:
        """The same; nothing is learned from images."""
        vary = partial(vary_images, recipe=complete_recipe(recipe, ImageRecipe))
        return make_batches(self.schema, splits, recipe, state, size=128, augment=vary)

    def build(self, recipe: Recipe, state: State) -> Any:
        """``float32 [N,height,width,channels]``, 0..255 -> probabilities or numbers ``[N,K]``.

        Sized for processors: each convolution halves the sides, so that all cost about the same. Padding keeps the
        sides even; means and peaks of the last maps make the place of a thing in the picture matter little.
        """
        import keras

        given, layers = complete_recipe(recipe, ImageRecipe), keras.layers
        images = keras.Input((self.kind.height, self.kind.width, self.kind.channels), name="images")
        x = layers.Rescaling(1 / 127.5, -1.0)(images)
        side, channels, size = min(self.kind.height, self.kind.width), given.channels, 5
        while side > SMALLEST_SIDE or channels < MIN_WIDENING * given.channels:
            x = layers.Conv2D(
                channels, size, strides=2, padding="same", use_bias=False, kernel_initializer="he_normal"
            )(x)
            x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
            side, channels, size = -(-side // 2), min(2 * channels, MAX_WIDENING * given.channels), 3
        x = layers.Concatenate()([layers.GlobalAveragePooling2D()(x), layers.GlobalMaxPooling2D()(x)])
        x = layers.Dropout(given.dropout)(x)
        return keras.Model(images, build_output(x, state, self.schema), name="images")

    def measure_baseline(self, splits: Splits) -> Baseline:
        """Logistic or ridge regression on the pixels of small copies."""
        train, test = (shrink_images(split.x) for split in (splits.train, splits.test))
        return measure_linear(self.schema, splits, train, test)


def vary_images(x: Array, generator: np.random.Generator, *, recipe: ImageRecipe) -> Array:
    """``[B,H,W,C]``, each image moved by whole pixels in both directions, and mirrored if the recipe says so.

    What moves in is a copy of the image's edge.
    """
    count, height, width, _ = x.shape
    down, right = round(recipe.shift * height), round(recipe.shift * width)
    padded = np.pad(x, ((0, 0), (down, down), (right, right), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(1, 2))
    tops, lefts = generator.integers(0, 2 * down + 1, count), generator.integers(0, 2 * right + 1, count)
    moved: Array = np.moveaxis(windows[np.arange(count), tops, lefts], 1, -1)
    if not recipe.flip:
        return moved
    mirrored = generator.random(count) < 0.5  # noqa: PLR2004  # half of them
    either: Array = np.where(mirrored[:, None, None, None], moved[:, :, ::-1], moved)
    return either


def shrink_images(x: Array) -> Array:
    """``[N,H,W,C]`` -> ``float32 [N,F]``, 0..1: means of blocks, at most ``BASELINE_SIDE`` along each side."""
    rows, columns = (np.unique(np.arange(BASELINE_SIDE) * side // BASELINE_SIDE) for side in x.shape[1:3])
    heights, widths = np.diff([*rows, x.shape[1]]), np.diff([*columns, x.shape[2]])
    found = np.empty((len(x), len(rows), len(columns), x.shape[3]), np.float32)
    for index, image in enumerate(x):  # one by one, for the memory
        sums = np.add.reduceat(np.add.reduceat(image, rows, axis=0, dtype=np.float32), columns, axis=1)
        found[index] = sums / (heights[:, None, None] * widths[None, :, None] * 255)
    return found.reshape(len(x), -1)
