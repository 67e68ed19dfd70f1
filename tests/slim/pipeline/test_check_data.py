"""Any dataset is checked before training: refused where a version would be wrong, or a warning for people."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelyard.models.data import Dataset, Inputs, Schema, Split, Splits, take
from modelyard.models.errors import InvalidData
from modelyard.models.inputs import (
    CategoryInput,
    ImageInput,
    ModelInput,
    NumberInput,
    SequenceInput,
    TextInput,
    VectorInput,
)
from modelyard.models.registry.cards.data_card import FILE, DataCard, read_data_card
from modelyard.models.registry.manifest import DataRecord
from modelyard.models.spec import ModelSpec
from modelyard.models.types import Array, Task
from modelyard.pipeline.stages.check_data import check_data

NONE = Dataset(name="none", homepage="", read=lambda _: splits_of(np.zeros((3, 1)), np.zeros(3)))
NAMED: Mapping[str, Any] = {"age": NumberInput(missing=True), "plan": CategoryInput()}


def splits_of(x: Inputs, y: Array) -> Splits:
    """Three parts of 60, 20 and 20 in a hundred rows."""
    parts = np.split(np.arange(len(y)), [len(y) * 6 // 10, len(y) * 8 // 10])
    train, validation, test = (Split(take(x, rows), y[rows]) for rows in parts)
    return Splits(train, validation, test)


def spec_of(given: ModelInput, task: Task = "multiclass", labels: tuple[str, ...] = ("a", "b", "c")) -> ModelSpec:
    return ModelSpec(name="it", dataset=NONE, input=given, task=task, labels=labels)


def numbers(rows: int = 100, size: int = 3) -> Array:
    return np.random.default_rng(0).normal(size=(rows, size)).astype(np.float32)


def named(rows: int = 100) -> dict[str, Array]:
    return {"age": numbers(rows)[:, 0], "plan": np.array(["gold", "free"], object)[np.arange(rows) % 2]}


CLASSES = np.arange(100, dtype=np.int32) % 3
SOUND: dict[str, tuple[ModelInput, Inputs]] = {
    "vectors": (VectorInput(3), numbers()),
    "images": (ImageInput(4, 4), np.random.default_rng(0).integers(0, 255, (100, 4, 4, 1), np.uint8)),
    "texts": (TextInput(), np.array([f"text {i}" for i in range(100)], object)),
    "sequences": (SequenceInput(1), numbers(100, 6)[:, :, None]),
    "named inputs": (NAMED, named()),
}


@pytest.mark.parametrize("kind", SOUND)
def test_sound_data_of_any_kind_passes_without_a_warning(kind: str) -> None:
    """And is described: rows by part, classes, ranges."""
    given, x = SOUND[kind]
    card = check_data(spec_of(given), splits_of(x, CLASSES), "hash")
    assert card.warnings == ()
    assert card.rows == {"train": 60, "validation": 20, "test": 20}
    assert card.count_classes() == {"a": 34, "b": 33, "c": 33}
    assert card.fingerprint == "hash"
    assert all(column.minimum is None or column.minimum <= column.maximum for column in card.columns.values())  # type: ignore[operator]


def change(values: Array, index: Any, value: Any) -> Array:
    copy = values.copy()
    copy[index] = value
    return copy


BAD: dict[str, tuple[ModelInput, Inputs, Array, str]] = {
    "a label above the range": (
        *SOUND["vectors"],
        change(CLASSES, [82, 91], 3),
        r"test, target: test\[2\], test\[11\] is no id of the 3 labels, 0 to 2",
    ),
    "labels from 1": (*SOUND["vectors"], CLASSES + 1, r"train, target: train\[2\], .* and 15 more is no id"),
    "a negative label": (*SOUND["vectors"], change(CLASSES, 0, -1), r"train\[0\] is no id"),
    "labels as numbers": (*SOUND["vectors"], CLASSES.astype(np.float32), "expected class ids, int .* received float32"),
    "a class only in the test part": (
        *SOUND["vectors"],
        change(change(CLASSES, slice(None), np.arange(100) % 2), 95, 2),
        "the class 'c' .1 rows. is in no row of the train and validation part",
    ),
    "NaN in a vector": (VectorInput(3), change(numbers(), (7, 1), np.nan), CLASSES, r"train\[7\] is NaN or not finite"),
    "infinity in a sequence": (SequenceInput(1), change(SOUND["sequences"][1], 99, np.inf), CLASSES, r"test\[19\]"),
    "NaN in a number that is never missing": (
        {**NAMED, "age": NumberInput()},
        {**named(), "age": change(named()["age"], 3, np.nan)},
        CLASSES,
        r"train, input 'age': train\[3\] is NaN",
    ),
    "an empty category that is never missing": (
        NAMED,
        {**named(), "plan": change(named()["plan"], 61, "")},
        CLASSES,
        r"input 'plan': validation\[1\] is missing",
    ),
    "vectors of another size": (
        VectorInput(4),
        numbers(),
        CLASSES,
        r"expected numbers \[N, 4\], received float32 \[60, 3\]",
    ),
    "images without channels": (
        ImageInput(4, 4),
        np.zeros((100, 4, 4), np.uint8),
        CLASSES,
        r"\[N, 4, 4, 1\], received uint8",
    ),
    "texts as bytes": (TextInput(), np.array([b"x"] * 100, object), CLASSES, r"train\[0\], .* is no text"),
    "texts as fixed width": (TextInput(), np.array(["x"] * 100), CLASSES, "expected texts, object .N., received <U1"),
    "a missing column": (NAMED, {"age": named()["age"]}, CLASSES, "expected the inputs age, plan, received age"),
    "one array for two inputs": (NAMED, numbers(), CLASSES, "expected inputs by name"),
    "names for one input": (VectorInput(3), {"x": numbers()}, CLASSES, "expected one array"),
}


@pytest.mark.parametrize("case", BAD)
def test_data_that_would_make_a_wrong_version_is_refused(case: str) -> None:
    """With part, input and the first rows."""
    given, x, y, text = BAD[case]
    with pytest.raises(InvalidData, match=text):
        check_data(spec_of(given), splits_of(x, y))


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_an_empty_part_is_refused(part: str) -> None:
    """Whichever it is."""
    whole = splits_of(*(SOUND["vectors"][1], CLASSES))
    empty = replace(whole, **{part: Split(numbers()[:0], CLASSES[:0])})
    with pytest.raises(InvalidData, match=f"the {part} part has no rows"):
        check_data(spec_of(VectorInput(3)), empty)


def test_inputs_and_targets_of_unequal_number_are_refused() -> None:
    """Rows would be paired wrongly."""
    uneven = replace(splits_of(numbers(), CLASSES), test=Split(numbers()[:5], CLASSES[:6]))
    with pytest.raises(InvalidData, match="test: 6 targets, but 5 rows of the input 'vectors'"):
        check_data(spec_of(VectorInput(3)), uneven)


@pytest.mark.parametrize(
    ("task", "labels", "y", "text"),
    [
        ("regression", (), change(numbers()[:, 0], 4, np.nan), r"train\[4\] is NaN or not finite"),
        ("regression", (), np.full(100, 2.5, np.float32), "it is 2.5 in every row"),
        ("regression", ("u", "v"), numbers(), r"expected numbers \[N,2\], received float32 \[60, 3\]"),
        ("multilabel", ("u", "v"), np.full((100, 2), 2, np.int32), r"train\[0\], .* is neither 0 nor 1"),
        ("binary", ("no",), CLASSES, "is no id of the 1 labels"),
        ("multiclass", (), CLASSES, "a multiclass task needs labels"),
        ("text", (), CLASSES, "expected texts"),
    ],
)
def test_targets_fit_the_task(task: Task, labels: tuple[str, ...], y: Array, text: str) -> None:
    """Finite numbers that vary, flags, texts, ids of labels."""
    with pytest.raises(InvalidData, match=text):
        check_data(spec_of(VectorInput(3), task, labels), splits_of(numbers(), y))


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        (("a", "b"), "the data has 'c', which the spec's labels 'a', 'b' lack"),
        (("a", "b", "c", "d"), "the spec's labels 'd' are in no row"),
        (("c", "b", "a"), "in the data's order 'a', 'b', 'c'"),
    ],
)
def test_labels_of_the_spec_are_those_of_the_data(labels: tuple[str, ...], text: str) -> None:
    """Ids count in the data's order: another one would name every answer wrongly."""
    schema = Schema(VectorInput(3), "multiclass", ("a", "b", "c"))
    with pytest.raises(InvalidData, match=text):
        check_data(spec_of(VectorInput(3), labels=labels), replace(splits_of(numbers(), CLASSES), schema=schema))


def test_a_rare_class_may_be_missing_from_the_test_part() -> None:
    """By chance, and said; a common one is not missing by chance, and of two classes both are needed."""
    rare = change(change(CLASSES, slice(60, None), np.arange(40) % 2), slice(0, 60), np.arange(60) % 2)
    card = check_data(spec_of(VectorInput(3)), splits_of(numbers(), change(rare, [5, 65], 2)))
    assert card.warnings == ("the class 'c' (2 rows) is in no row of the test part",)
    with pytest.raises(InvalidData, match="in no row of the test part; get more rows of it"):
        check_data(spec_of(VectorInput(3)), splits_of(numbers(), change(rare, slice(10, 70), 2)))
    two = change(np.arange(100, dtype=np.int32) % 2, slice(80, None), 0)
    with pytest.raises(InvalidData, match=r"the class 'b' .* is in no row of the test part"):
        check_data(spec_of(VectorInput(3), "binary", ("a", "b")), splits_of(numbers(), two))


@pytest.mark.parametrize("kind", SOUND)
def test_a_row_in_two_parts_is_found(kind: str) -> None:
    """A few are a warning with the rows; a tenth and more is no test."""
    given, x = SOUND[kind]
    if isinstance(given, Mapping):
        x = {"age": x["age"], "plan": x["plan"]}
    leaked = take(x, np.concatenate([np.arange(99), [0]]))
    card = check_data(spec_of(given), splits_of(leaked, CLASSES))
    assert card.warnings == ("1 rows of the test part (5.0%) are also in the train part: test[19]",)
    with pytest.raises(InvalidData, match=r"20 rows of the test part .100.0%. are also in the train part"):
        check_data(spec_of(given), splits_of(take(x, np.concatenate([np.arange(80), np.arange(20)])), CLASSES))


def test_rows_of_few_different_values_are_in_all_parts_by_nature() -> None:
    """A table with three different rows is not refused; it is said."""
    x = {"age": np.repeat(np.float32([1, 2, 3, 4]), 25)[np.arange(100) * 37 % 100], "plan": named()["plan"]}
    card = check_data(spec_of(NAMED), splits_of(x, CLASSES))
    assert any("20 rows of the test part (100.0%) are also in the train part" in text for text in card.warnings)


def test_constants_and_ids_are_warnings() -> None:
    """Nothing is learned from a constant, and an id is learned by heart."""
    inputs = {
        "a": NumberInput(),
        "b": CategoryInput(),
        "id": NumberInput(),
        "key": CategoryInput(),
        "gone": NumberInput(True),
    }
    x = {
        "a": np.ones(100, np.float32),
        "b": np.array(["x"] * 100, object),
        "id": np.arange(100, dtype=np.float32),
        "key": np.array([f"k{i}" for i in range(100)], object),
        "gone": np.full(100, np.nan, np.float32),
    }
    card = check_data(spec_of(inputs), splits_of(x, CLASSES))
    found = "\n".join(card.warnings)
    assert [name for name in inputs if f"from it: {name}" in found] == ["a", "b", "gone"]
    assert [name for name in inputs if f"{name} is another in every training row" in found] == ["id", "key"]
    assert card.list_missing() == {"gone": 1.0}
    titled = {name: replace(kind, title=f"{name} (%)") for name, kind in inputs.items()}
    found = "\n".join(check_data(spec_of(titled), splits_of(x, CLASSES)).warnings)
    assert "id (%) is another in every training row" in found  # as the data names it, so that `ignore` takes it
    assert "from it: gone (%)" in found
    vectors = check_data(spec_of(VectorInput(3)), splits_of(change(numbers(), (slice(None), 1), 4), CLASSES))
    assert vectors.warnings == ("the same in every training row, so that nothing is learned from it: vectors[1]",)


def test_a_card_describes_columns() -> None:
    """Of the training part: ranges, missing share, the commonest categories."""
    x = {"age": np.append(np.arange(1, 100), np.nan).astype(np.float32)[::-1].copy(), "plan": named()["plan"]}
    card = check_data(spec_of(NAMED), splits_of(x, CLASSES))
    age, plan = card.columns["age"], card.columns["plan"]
    assert (age.minimum, age.maximum, age.mean) == (41, 99, 70)
    assert age.missing == pytest.approx(1 / 60, abs=1e-4)
    assert (plan.different, plan.frequent) == (2, {"free": 30, "gold": 30})


def test_a_card_travels_with_its_version(tmp_path: Path) -> None:
    """As JSON; a version of an earlier release has none, and its record is read all the same."""
    card = check_data(spec_of(NAMED), splits_of(named(), CLASSES), "hash")
    assert read_data_card(tmp_path) is None
    (tmp_path / FILE).parent.mkdir()
    (tmp_path / FILE).write_text(card.model_dump_json())
    assert read_data_card(tmp_path) == card == DataCard.model_validate_json(card.model_dump_json())
    old = {"name": "x", "source": "real", "fingerprint": "0", "train": 1, "validation": 1, "test": 1}
    assert DataRecord.model_validate(old).warnings == ()
