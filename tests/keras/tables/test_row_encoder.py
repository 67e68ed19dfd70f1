"""Rows to features: what each kind of column becomes, in training and in the exported graph alike."""

from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelyard.models.data import Schema, Split, Splits
from modelyard.models.defaults.row_encoder import RowEncoder, encode_rows, learn_state
from modelyard.models.defaults.tables import make_defaults
from modelyard.models.errors import InvalidSpec
from modelyard.models.inputs import (
    CategoryInput,
    DateInput,
    ImageInput,
    NumberInput,
    OneInput,
    SequenceInput,
    TextInput,
    VectorInput,
)
from modelyard.models.recipes import Recipe, recipe
from modelyard.models.types import Array
from modelyard.pipeline.arrays import load_arrays, save_arrays

EPOCH = date(1970, 1, 1)


def texts(*values: str) -> Array:
    return np.array(values, object)


def encode(kind: OneInput, train: Array, asked: Array) -> dict[str, Array]:
    """Features of some cells by name, with what was learned from others."""
    state = learn_state({"c": kind}, {"c": train})
    found = encode_rows(RowEncoder({"c": kind}, state), {"c": asked})
    return dict(zip(state["features"], found.T, strict=True))


def test_numbers_are_standardised_and_say_that_they_are_missing() -> None:
    """A missing one counts as the mean. Nothing is said of missing values where training had none."""
    train = np.array([1, 3, 5, np.nan], np.float32)
    found = encode(NumberInput(), train, np.array([3, 5, np.nan], np.float32))
    assert list(found) == ["c", "c is missing"]
    np.testing.assert_allclose(found["c"], [0, np.sqrt(1.5), 0], atol=1e-6)
    assert found["c is missing"].tolist() == [0, 0, 1]
    assert list(encode(NumberInput(), train[:3], train[:3])) == ["c"]


def test_categories_have_a_feature_each_and_one_for_the_unknown() -> None:
    """Spaces around them do not count; what came once is unknown, and so is what never came."""
    train = texts("a", "a", "b", "b", "b", "once", "", "")
    found = encode(CategoryInput(), train, texts("b", " a ", "", "once", "new", "A"))
    assert set(found) == {"c is unknown", "c = a", "c = b", "c is missing"}
    assert found["c = b"].tolist() == [1, 0, 0, 0, 0, 0]
    assert found["c = a"].tolist() == [0, 1, 0, 0, 0, 0]
    assert found["c is missing"].tolist() == [0, 0, 1, 0, 0, 0]
    assert found["c is unknown"].tolist() == [0, 0, 0, 1, 1, 1]


def test_an_unknown_category_moves_nothing_that_was_not_learned() -> None:
    """Where training had no unknown one, it has no feature: untrained weights would answer for it."""
    found = encode(CategoryInput(), texts("a", "a", "b", "b"), texts("new"))
    assert {name: values.tolist() for name, values in found.items()} == {"c = a": [0], "c = b": [0]}


def test_dates_count_days_as_the_calendar_does() -> None:
    """Over four hundred years, leap days included: Python's own calendar is the reference."""
    days = [date(1800, 1, 1) + timedelta(days=97 * i) for i in range(1_600)]
    found = encode(DateInput(), texts(*map(str, days)), texts(*map(str, days)))
    numbers = np.array([(day - EPOCH).days for day in days], np.float64)
    np.testing.assert_allclose(found["c day"], (numbers - numbers.mean()) / numbers.std(), atol=1e-4)
    for index, name in enumerate(("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")):
        is_day = np.array([day.weekday() == index for day in days])
        assert (found[f"c {name}"] > 0).tolist() == is_day.tolist()
    months = np.array([day.month for day in days])
    np.testing.assert_allclose(np.corrcoef(found["c month sin"], np.sin((months - 1) * np.pi / 6))[0, 1], 1)


def test_what_is_no_date_is_missing() -> None:
    """It is 0 in all but the one feature."""
    train = texts("2026-01-01", "2026-05-02T18:00", "2025-03-07", "")
    none = ("", "soon", "2026-13-01", "2026-02-32", "2026-1-1", "2026-01-01T25:00", "20260101")
    found = encode(DateInput(), train, texts(*none, "2026-01-01"))
    *missing, given = found.pop("c is missing")
    assert all(value > 0 > given for value in missing)
    assert not any(values[:-1].any() for values in found.values())


def test_times_are_taken_as_they_are_written() -> None:
    """With seconds, a zone, or a space in the middle: all are half past six."""
    train = texts("2026-01-01T06:00", "2026-05-02T18:00", "2025-03-07T23:00")
    ways = ("2026-05-02T18:30", "2026-05-02 18:30:00", "2026-05-02T18:30:00.25Z", "2026-05-02T18:30+02:00")
    asked = encode(DateInput(), train, texts(*ways, "2026-05-02T18:30:00"))
    assert all((values == values[-1]).all() for values in asked.values())
    assert asked["c hour sin"][0] < 0


def test_texts_are_weighted_words() -> None:
    """Case and punctuation do not count; a rare word weighs more than a common one; length is 1."""
    train = texts("good film", "Good film!", "bad film", "bad, bad film", "a slow film", "slow film")
    found = encode(TextInput(), train, texts("GOOD film", "nothing known"))
    assert {name for name in found if name.startswith("c has ")} == {
        *("c has another word", "c has film", "c has good", "c has bad", "c has slow"),
    }
    assert found["c has good"][0] > found["c has film"][0] > 0
    assert found["c has bad"][0] == 0
    assert found["c has another word"].tolist() == [0, 1]


def test_vectors_and_images_stand_beside_columns() -> None:
    """A large image is made smaller, so that it does not drown the rest."""
    rng = np.random.default_rng(0)
    inputs: Mapping[str, OneInput] = {"v": VectorInput(3), "i": ImageInput(64, 64, 3), "n": NumberInput()}
    x = {
        "v": rng.normal(5, 2, (50, 3)).astype(np.float32),
        "i": rng.integers(0, 256, (50, 64, 64, 3), np.uint8),
        "n": rng.normal(size=50).astype(np.float32),
    }
    state = learn_state(inputs, x)
    found = encode_rows(RowEncoder(inputs, state), x)
    assert found.shape == (50, 1 + 3 + 16 * 16 * 3)
    np.testing.assert_allclose(found[:, :4].mean(axis=0), 0, atol=1e-5)
    assert 0 <= found[:, 4:].min() <= found[:, 4:].max() <= 1


def test_a_constant_has_no_feature() -> None:
    """Nothing is learned from it, and a change of it would be a leap into the unknown."""
    inputs = {"same": NumberInput(), "other": NumberInput()}
    x = {"same": np.full(20, 7, np.float32), "other": np.arange(20, dtype=np.float32)}
    assert learn_state(inputs, x)["features"].tolist() == ["other"]
    assert len(learn_state({"same": NumberInput()}, {"same": x["same"]})["features"]) == 1


def test_a_state_comes_back_from_its_file(tmp_path: Path) -> None:
    """Vocabularies of any letters, and empty ones."""
    inputs: Mapping[str, OneInput] = {"c": CategoryInput(), "t": TextInput(), "all": CategoryInput()}
    x = {"c": texts("ä", "ä", "日本", "日本"), "t": texts("w x", "y z", "u", "v"), "all": texts("a", "b", "c", "d")}
    state = learn_state(inputs, x)
    again = load_arrays(save_arrays(tmp_path / "state.npz", state))
    encoders = [RowEncoder(inputs, one) for one in (state, again)]
    np.testing.assert_array_equal(*(encode_rows(encoder, x) for encoder in encoders))


@recipe
class OwnRecipe(Recipe):
    """A recipe with a value that the default network does not know."""

    colour: str = "green"


def splits_of(x: dict[str, Array], y: Array) -> Splits:
    part = Split(x, y)
    return Splits(part, part, part)


def test_a_build_of_ones_own_knows_its_width() -> None:
    """The default ``prepare`` makes batches as wide as ``state["features"]`` has names."""
    x = {"a": np.arange(40, dtype=np.float32), "b": texts(*["p", "q"] * 20)}
    steps = make_defaults(Schema({"a": NumberInput(), "b": CategoryInput()}, "binary", ("no", "yes")))
    prepared = steps.prepare(splits_of(x, np.arange(40, dtype=np.int32) % 2), steps.recipes["quick"])
    features, targets = prepared.train[0]
    assert features.shape[1] == len(prepared.state["features"]) == 3
    assert targets.shape == (len(features), 1)


def test_a_later_training_may_keep_what_an_earlier_one_learned() -> None:
    """Weights fit the state that they were trained with: another vocabulary does not change the width."""
    steps = make_defaults(Schema({"b": CategoryInput()}, "regression"))
    old = splits_of({"b": texts(*["p", "q"] * 20)}, np.arange(40, dtype=np.float32))
    new = splits_of({"b": texts(*["p", "q", "r", "s"] * 10)}, np.arange(40, dtype=np.float32) * 2)
    recipe = steps.recipes["quick"]
    learned = steps.prepare(old, recipe)
    kept = steps.prepare_with_state(new, recipe, learned.state)
    assert kept.train[0][0].shape[1] == learned.train[0][0].shape[1]
    assert kept.state is learned.state


@pytest.mark.parametrize(
    ("task", "labels", "width"),
    [
        ("multiclass", ("a", "b", "c"), 3),
        ("binary", ("a", "b"), 1),
        ("multilabel", ("a", "b"), 2),
        ("regression", (), 1),
    ],
)
@pytest.mark.parametrize("which", ["quick", "plain", "own"])
def test_every_task_has_a_network(task: Any, labels: tuple[str, ...], width: int, which: str) -> None:
    """Probabilities, or numbers around the mean of the target; a plain recipe does, and one of one's own."""
    y = {
        "regression": np.arange(40, dtype=np.float32) + 100,
        "multilabel": np.eye(2, dtype=np.float32)[np.arange(40) % 2],
    }
    x = {"a": np.arange(40, dtype=np.float32)}
    steps = make_defaults(Schema({"a": NumberInput()}, task, labels))
    chosen = {"quick": steps.recipes["quick"], "plain": Recipe(), "own": OwnRecipe()}[which]
    prepared = steps.prepare(splits_of(x, y.get(task, np.arange(40, dtype=np.int32) % max(2, len(labels)))), chosen)
    outputs = np.asarray(steps.build(chosen, prepared.state)(prepared.train[0][0]))
    assert outputs.shape[1] == width
    low, high = (119, 120) if task == "regression" else (0, 1)
    assert low <= outputs.min() <= outputs.max() <= high


@pytest.mark.parametrize(
    ("given", "task", "text"),
    [
        ({"s": SequenceInput(2), "n": NumberInput()}, "binary", "input 's': there is no default for a sequence"),
        ({"n": NumberInput()}, "text", "no default for a text task on several inputs"),
    ],
)
def test_what_has_no_default_says_what_to_give(given: Mapping[str, OneInput], task: Any, text: str) -> None:
    """Before anything is read."""
    with pytest.raises(InvalidSpec, match=text):
        make_defaults(Schema(given, task, ("a", "b")))
