"""What typical inputs are told by: examples as fitting saw them, colours of pictures, words and their order."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from modelyard.models.data import Dataset, Split, Splits
from modelyard.models.inputs import ImageInput, NumberInput, TextInput
from modelyard.models.spec import ModelSpec
from modelyard.models.types import Array
from modelyard.pipeline.arrays import load_split, save_split
from modelyard.pipeline.calibrating.distances import learn_word_order
from modelyard.pipeline.calibrating.examples import choose_seen
from modelyard.pipeline.exporting.features import count_words, find_marks, summarise_image
from modelyard.pipeline.exporting.typicality import as_tensors, learn_typicality

DATASET = Dataset(name="none", homepage="", read=lambda _: Splits(*[Split(np.zeros((1, 1)), np.zeros(1))] * 3))
IMAGES = Split(np.zeros((40, 4, 4, 1), np.uint8), np.arange(40, dtype=np.int32) % 2)
TEXTS = Split(np.array(["a b"] * 40, object), IMAGES.y)
NUMBERS = Split({"age": np.zeros(40, np.float32), "size": np.ones(40, np.float32)}, IMAGES.y)


class Seen:
    """Batches of eight: all that fitting saw is twice what the data has, and one more."""

    def __init__(self, x: Any, y: Array) -> None:
        self._x, self._y = x, y

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> tuple[Any, Array]:
        rows = (np.arange(8) + 8 * index) % 40
        x = {key: 2 * each[rows] + 1 for key, each in self._x.items()} if isinstance(self._x, Mapping) else None
        return (x or 2 * self._x[rows] + 1), self._y[rows]


def make_spec(given: Any, **fields: Any) -> ModelSpec:
    return ModelSpec(dataset=DATASET, name="some", task="multiclass", input=given, labels=("a", "b"), **fields)


def test_typical_is_what_fitting_saw(tmp_path: Any) -> None:
    """As many examples as the data has, from all over the epoch, varied; of inputs by name as well."""
    spec = make_spec(ImageInput(4, 4))
    found = choose_seen(spec, IMAGES, Seen(IMAGES.x + 3, IMAGES.y))
    assert found
    assert found.x.shape == IMAGES.x.shape
    assert (found.x == 7).all()
    assert found.y.tolist() != IMAGES.y.tolist() or set(found.y) == {0, 1}
    named = make_spec({"age": NumberInput(), "size": NumberInput()})
    both = choose_seen(named, NUMBERS, Seen(NUMBERS.x, NUMBERS.y[:, None].astype(np.float32)))
    assert both
    assert (both.x["age"].max(), both.x["size"].max(), both.y.dtype) == (1, 3, np.int32)
    again = load_split(save_split(tmp_path / "seen.npz", both))
    np.testing.assert_array_equal(again.x["size"], both.x["size"])


@pytest.mark.parametrize(
    ("spec", "train", "batches"),
    [
        (make_spec(TextInput()), TEXTS, Seen(np.zeros((40, 8), np.int32), TEXTS.y)),
        (make_spec(ImageInput(4, 4), encode=lambda _: None), IMAGES, Seen(IMAGES.x, IMAGES.y)),
        (make_spec(ImageInput(4, 4), fit=lambda _: None), IMAGES, None),
        (make_spec(ImageInput(4, 4)), IMAGES, Seen(np.zeros((40, 2, 2, 1)), IMAGES.y)),
        (make_spec(ImageInput(4, 4)), IMAGES, Seen(IMAGES.x, np.eye(2)[IMAGES.y])),
        (make_spec(ImageInput(4, 4)), IMAGES, Seen(IMAGES.x, IMAGES.y + 0.1)),
        (make_spec({"age": NumberInput()}), NUMBERS, Seen({"age": NUMBERS.x["age"]}, NUMBERS.y)),
    ],
    ids=["texts", "encoded", "a loop of its own", "another size", "one-hot", "soft targets", "other names"],
)
def test_where_fitting_sees_something_else_raw_examples_tell(spec: ModelSpec, train: Split, batches: Any) -> None:
    """Word ids, encoded or resized inputs, and targets that are no classes, are no raw examples."""
    assert choose_seen(spec, train, batches) is None


def test_words_tell_the_next_one_as_far_as_training_shows() -> None:
    """A pair that always follows gains, one that never does loses; what was seen once tells half as much."""
    chain = np.tile(np.array([1, 2, 3, 4], np.uint8), (50, 4))
    rare = np.array([[5, 6] + [0] * 14], np.uint8)
    learned = learn_word_order(np.concatenate([chain, rare]))
    assert learned
    gains = learned.gains.astype(float)
    share = np.log(752 / 2)  # of 751 pairs one ends in a 6
    assert share / 2 > gains[5, 6] > gains[1, 2] > 1
    assert gains[2, 1] < 0
    assert learned.mean == pytest.approx(gains[[1, 2, 3, 4], [2, 3, 4, 1]].mean(), rel=0.05)
    assert learn_word_order(np.array([[1], [2]], np.uint8)) is None


def test_pictures_of_one_colour_are_typical_where_they_are_usual() -> None:
    """As everything that occurs in training is."""
    random = np.random.default_rng(0)
    summary = random.normal(0, 1, (300, 3)).astype(np.float32)
    for usual, expected in ((0, 2.0), (30, 0.0)):
        plain = np.arange(300) < usual
        learned = learn_typicality({"summary": summary}, None, {"summary": summary, "plain": plain})
        mean = {"summary": summary.mean(axis=0, keepdims=True), "plain": np.array([True])}
        assert learned.measure(as_tensors(mean)).numpy()[0] == pytest.approx(expected, abs=0.3)


def test_a_picture_is_summed_up_by_its_ink_too() -> None:
    """Its share, and that of the rows and columns that have some; of several channels the mean of all."""
    picture = np.zeros((1, 4, 8, 1), np.float32)
    picture[0, 1:3, 2] = 255
    picture[0, 3, 7] = 100  # too faint
    brightness, contrast, *ink, _ = summarise_image(tf.constant(picture)).numpy()[0]
    np.testing.assert_allclose((brightness, contrast), (picture.mean(), picture.std()), rtol=1e-5)
    np.testing.assert_allclose(ink, (2 / 32, 2 / 4, 1 / 8))
    both = np.concatenate([picture, np.zeros_like(picture)], axis=-1)
    *means, _, share, rows, columns, _ = summarise_image(tf.constant(both)).numpy()[0]
    np.testing.assert_allclose((*means, share, rows, columns), (picture.mean(), 0, 1 / 32, 1 / 4, 1 / 16), rtol=1e-5)


def test_words_in_no_order_are_not_typical() -> None:
    """Shuffled or all the same; in the order of training they are, however few."""
    random = np.random.default_rng(0)

    def write(count: int, words: int) -> Array:
        start = random.integers(0, 20, (count, 1))
        steps = random.choice([1, 2, 9], (count, words), p=[0.6, 0.3, 0.1])
        return ((start + steps.cumsum(axis=1)) % 20 + 2).astype(np.uint8)

    def observe(common: Array) -> dict[str, Array]:
        return {"words": np.stack([(common > 0).sum(axis=1), np.zeros(len(common))], axis=1), "common": common}

    calibration = write(400, 60)
    calibration[200:] *= np.arange(60) < random.integers(2, 40, (200, 1))
    learned = learn_typicality(observe(write(400, 60)), None, observe(calibration))
    shuffled = random.permuted(write(100, 60), axis=1)
    same = np.repeat(random.integers(2, 22, (100, 1)), 60, axis=1).astype(np.uint8)
    for odd in (shuffled, same):
        assert (learned.measure(as_tensors(observe(odd))).numpy() > 1).mean() >= 0.95
    for words, most in ((60, 0.05), (5, 0.1)):
        assert (learned.measure(as_tensors(observe(write(300, words)))).numpy() > 1).mean() <= most


def test_punctuation_is_no_word() -> None:
    """A vocabulary may hold it; emoji are words."""
    marks = find_marks({"vocabulary": np.array(["good", "!", "\N{GRINNING FACE}", "?!", "don't"])})
    assert marks == (3, 5)
    assert count_words(tf.constant([[2, 3, 5, 1, 0], [3, 3, 0, 0, 0]]), marks).numpy().tolist() == [[1, 1], [0, 0]]
    assert find_marks({}) == ()
