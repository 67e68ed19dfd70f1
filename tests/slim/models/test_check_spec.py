"""A spec whose parts do not fit together is refused when it is loaded, with every part that is wrong."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelyard.models.check_spec import check_spec
from modelyard.models.data import Dataset, Schema, Split, Splits
from modelyard.models.errors import InvalidSpec
from modelyard.models.inputs import ImageInput, Ink, NumberInput, TextInput, VectorInput
from modelyard.models.ranges import choice, log_range
from modelyard.models.recipes import Recipe
from modelyard.models.resolve import resolve
from modelyard.models.spec import Gate, ModelSpec, PreparedData


def read(_: Path) -> Splits:
    split = Split(np.zeros((1, 2), np.float32), np.zeros(1, np.int32))
    return Splits(split, split, split)


def prepare(splits: Splits, _: Recipe) -> PreparedData:
    return PreparedData(splits.train, splits.validation)


def build(*_: Any) -> str:
    return "a model"


def measure(*_: Any) -> dict[str, float]:
    return {}


SPEC = resolve(
    ModelSpec(
        name="small",
        dataset=Dataset("points", "", read),
        task="multiclass",
        input=VectorInput(2),
        labels=("a", "b", "c"),
        recipes={"quick": Recipe()},
        prepare=prepare,
        build=build,
    ),
    None,
)


def refusal(**fields: Any) -> str:
    with pytest.raises(InvalidSpec) as refused:
        check_spec(replace(SPEC, **fields))
    return str(refused.value)


def test_a_sound_spec_passes() -> None:
    """With a limit, a range, and own metrics of either direction, too."""
    check_spec(SPEC)
    check_spec(replace(SPEC, gate=Gate("loss", ceiling=0.4), search={"learning_rate": log_range(1e-4, 0.1)}))
    own = {"evaluate": measure, "metrics": {"cost": "lower", "gain": "higher"}}
    check_spec(replace(SPEC, gate=Gate("cost", ceiling=2.0), **own))


@pytest.mark.parametrize(
    ("gate", "text"),
    [
        (Gate("acuracy"), "unknown metric 'acuracy'; did you mean accuracy?"),
        (Gate("mean_return"), "unknown metric 'mean_return'; there are accuracy, loss, ece"),
        (Gate("loss", floor=0.3), "less of loss is better: give it a ceiling, not a floor"),
        (Gate("accuracy", ceiling=0.9), "more of accuracy is better: give it a floor, not a ceiling"),
        (Gate("accuracy", floor=0.9, sample_ceiling=0.8), "give it a floor, not a ceiling"),
        (Gate("ece"), "ece needs a ceiling"),
        (Gate("accuracy", max_drop=-0.1), "max_drop: expected at least 0"),
    ],
)
def test_a_gate_names_a_metric_that_exists_and_limits_it_on_its_side(gate: Gate, text: str) -> None:
    """Seen at once, not after an hour of training."""
    assert text in refusal(gate=gate)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"labels": ("a", "b", "a")}, "'a' is there twice"),
        ({"labels": ("a",)}, "expected at least two"),
        ({"task": "binary"}, "expected two for a binary task"),
        ({"build": len}, "build: expected a function of 2 arguments, received len(obj, /)"),
        ({"prepare": "prepare"}, "prepare: expected a function of 2 arguments, received 'prepare'"),
        ({"fit": lambda: None}, "fit: expected a function of 1 arguments"),
        ({"evaluate": measure}, "metrics is missing"),
        ({"metrics": {"cost": "lower"}}, "evaluate is missing"),
        ({"evaluate": measure, "metrics": {"cost": "less"}}, "expected higher or lower"),
        ({"evaluate": measure, "metrics": {"loss": "lower"}}, "loss is measured for every"),
        ({"task": "text"}, "signatures is missing"),
        ({"task": "custom", "signatures": measure}, "loss is missing"),
        ({"input": {"two words": NumberInput()}}, "received 'two words'"),
        ({"input": {"class": NumberInput()}}, "received 'class'"),
        ({"input": {}}, "at least one input"),
        ({"input": TextInput(vectorise=len), "encode": len}, "give one of them"),
        ({"recipes": {"full": Recipe()}}, "expected one named quick, received full"),
        ({"recipes": {"quick": {"epochs": 3}}}, "quick: expected a Recipe, received dict"),
        ({"search": {"momentum": choice(1, 2)}}, "unknown recipe key 'momentum'"),
        ({"search": {"batch_size": choice(32, 0)}}, "batch_size"),
        ({"search": {"learning_rate": log_range(0.1, 100)}}, "learning_rate"),
    ],
)
def test_fields_that_do_not_fit_are_named(fields: dict[str, Any], text: str) -> None:
    """With what was expected."""
    assert text in refusal(**fields)


def test_all_problems_are_named_at_once() -> None:
    """Nobody wants to meet them one by one."""
    text = refusal(gate=Gate("acuracy"), labels=("a",), recipes={})
    assert text.startswith("small: ")
    assert all(part in text for part in ("acuracy", "at least two", "named quick"))


def test_an_own_metric_needs_a_limit() -> None:
    """Nothing is known of the simplest answer."""
    own = {"evaluate": measure, "metrics": {"mean_return": "higher"}}
    assert "mean_return needs a floor" in refusal(gate=Gate("mean_return"), **own)


def test_what_neither_spec_nor_data_tells_is_named() -> None:
    """A dataset that does not describe itself."""
    bare = ModelSpec(name="bare", dataset=Dataset("points", "", read))
    with pytest.raises(InvalidSpec, match="bare: input is missing: its dataset 'points' does not tell"):
        resolve(bare, None)


def test_the_spec_wins_over_the_data() -> None:
    """What a person wrote is not replaced; what is left out is filled in."""
    told = Schema(VectorInput(2), "binary", ("no", "yes"))
    found = resolve(replace(SPEC, task=None, labels=()), told)
    assert (found.task, found.labels, found.gate.metric) == ("binary", ("no", "yes"), "accuracy")
    assert resolve(replace(SPEC, labels=("x", "y", "z")), told).labels == ("x", "y", "z")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (ImageInput(28, 28, 3, ink=Ink()), "images: ink is for images of one channel, received 3"),
        (ImageInput(16, 28, ink=Ink()), "images: expected ink of 1 to 16 pixels, received 20"),
        (ImageInput(16, 28, ink=Ink(size=0)), "images: expected ink of 1 to 16 pixels, received 0"),
    ],
)
def test_ink_has_to_fit_its_image(kind: ImageInput, words: str) -> None:
    assert words in refusal(input=kind)
    assert words in refusal(input={"images": kind, "more": VectorInput(2)})


def test_a_pool_is_a_name_that_a_file_and_a_service_can_have() -> None:
    """Whether there is such a pool only an installation can tell."""
    for name in ("GPU", "a/b", "-a", "default ", 7):
        assert "pool: expected a name of lower-case letters" in refusal(pool=name)
    check_spec(replace(SPEC, pool="gpu-large"))
