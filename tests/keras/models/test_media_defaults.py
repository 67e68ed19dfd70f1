"""The default networks for images and for sequences of numbers: shapes, tasks, and what training varies."""

from typing import Any

import numpy as np
import pytest

from modelyard.models.data import Schema, Split, Splits
from modelyard.models.defaults import images, sequences, texts
from modelyard.models.defaults.images import ImageRecipe, shrink_images, vary_images
from modelyard.models.errors import InvalidSpec
from modelyard.models.inputs import ImageInput, SequenceInput, TextInput
from modelyard.models.recipes import Recipe
from modelyard.models.types import Array, Task

LABELS = ("a", "b", "c")
TARGETS: dict[Task, Array] = {
    "multiclass": np.arange(12, dtype=np.int32) % 3,
    "binary": np.arange(12, dtype=np.int32) % 2,
    "multilabel": (np.arange(36).reshape(12, 3) % 2).astype(np.float32),
    "regression": np.arange(12, dtype=np.float32),
}
OUTPUTS: dict[Task, int] = {"multiclass": 3, "binary": 1, "multilabel": 3, "regression": 1}


def make_splits(x: Array, task: Task) -> Splits:
    split = Split(x, TARGETS[task])
    return Splits(split, split, split)


def name_labels(task: Task) -> tuple[str, ...]:
    return {"binary": LABELS[:2], "regression": ()}.get(task, LABELS)


@pytest.mark.parametrize(
    ("recipe", "task"),
    [
        *(pytest.param(images.RECIPES["quick"], task, id=f"default-{task}") for task in TARGETS),
        pytest.param(Recipe(epochs=1), "multilabel", id="plain-multilabel"),
        *(
            pytest.param(Recipe(epochs=1), task, id=f"plain-{task}", marks=pytest.mark.long)
            for task in ("multiclass", "binary", "regression")
        ),
    ],
)
def test_an_image_gives_what_the_task_says(task: Task, recipe: Recipe) -> None:
    """Of any size and channels; a recipe without the network's own values will do."""
    x = np.random.default_rng(0).integers(0, 256, (12, 30, 44, 4), np.uint8)
    splits = make_splits(x, task)
    steps = images.make_defaults(Schema(ImageInput(30, 44, 4), task, name_labels(task)))
    prepared = steps.prepare(splits, recipe)
    model = steps.build(recipe, prepared.state)
    answers = np.asarray(model(x.astype(np.float32)))
    assert answers.shape == (12, OUTPUTS[task])
    assert np.isfinite(answers).all()
    batch, targets = prepared.train[0]
    assert (batch.shape, len(targets)) == ((12, 30, 44, 4), 12)
    assert steps.baseline
    assert np.isfinite(steps.baseline(splits).value)


@pytest.mark.parametrize("side", [8, 28, 96, 224])
def test_networks_for_images_of_all_sizes_are_small(side: int) -> None:
    """A hundred thousand numbers, not millions; the last maps are a few pixels."""
    steps = images.make_defaults(Schema(ImageInput(side, side, 3), "multiclass", LABELS))
    model = steps.build(images.RECIPES["quick"], {})
    assert 4_000 < model.count_params() < 600_000


def test_training_images_are_moved_and_mirrored_only_if_asked() -> None:
    """By whole pixels; what moves in is the edge. The same randomness gives the same images."""
    x = np.broadcast_to(np.arange(20, dtype=np.uint8)[:, None], (16, 10, 20, 1)).copy()
    x[:] = np.arange(20, dtype=np.uint8)[None, None, :, None]
    moved = vary_images(x, np.random.default_rng(1), recipe=ImageRecipe(shift=0.1))
    assert moved.shape == x.shape
    assert {tuple(np.unique(np.diff(image[0, :, 0].astype(int)))) for image in moved} <= {(0, 1), (1,)}
    assert len(np.unique(moved[:, 0, 0, 0])) > 1
    flipped = vary_images(x, np.random.default_rng(1), recipe=ImageRecipe(shift=0, flip=True))
    assert {int(image[0, 0, 0]) for image in flipped} == {0, 19}
    again = vary_images(x, np.random.default_rng(1), recipe=ImageRecipe(shift=0.1))
    np.testing.assert_array_equal(moved, again)


def test_small_copies_are_means_of_blocks() -> None:
    """Also where sides are no multiple of the copies', or shorter than they are."""
    even = np.full((2, 48, 40, 3), 51, np.uint8)
    np.testing.assert_allclose(shrink_images(even), 0.2, rtol=1e-6)
    assert shrink_images(even).shape == (2, 16 * 16 * 3)
    assert shrink_images(even[:, :5, :7, :1]).shape == (2, 5 * 7)


@pytest.mark.parametrize("task", TARGETS)
def test_a_sequence_of_any_length_gives_what_the_task_says(task: Task) -> None:
    """One step, or more than in training; an answer does not depend on the batch."""
    x = np.random.default_rng(0).normal(5, 3, (12, 20, 2)).astype(np.float32)
    splits = make_splits(x, task)
    steps = sequences.make_defaults(Schema(SequenceInput(2), task, name_labels(task)))
    recipe = steps.recipes["quick"]
    prepared = steps.prepare(splits, recipe)
    model = steps.build(recipe, prepared.state)
    for length in (1, 20, 33):
        given = np.resize(x, (12, length, 2))
        answers = np.asarray(model(given, training=False))
        assert answers.shape == (12, OUTPUTS[task])
        np.testing.assert_allclose(answers[3:4], np.asarray(model(given[3:4], training=False)), atol=1e-5)
    assert steps.baseline
    assert np.isfinite(steps.baseline(splits).value)


@pytest.mark.parametrize(
    ("module", "kind"), [(images, ImageInput(8, 8)), (texts, TextInput()), (sequences, SequenceInput(1))]
)
def test_a_task_without_a_default_says_what_to_give(module: Any, kind: Any) -> None:
    """When the spec is loaded."""
    with pytest.raises(InvalidSpec, match=r"there is no default for a text task on an? .*; give prepare"):
        module.make_defaults(Schema(kind, "text"))
