"""The catalogue: what can be trained, known without importing it."""

import json
import re
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from modelyard.models import catalog
from modelyard.models.backend import parse_backend
from modelyard.models.catalog import Catalog, TrainableModel, list_models, read_catalog, source_digest
from modelyard.models.errors import InvalidRecipe, UnknownName
from modelyard.models.recipes import Recipe

RECIPE = TypeAdapter(Recipe).json_schema()["properties"]
CONSTRAINTS = {
    name: {k: v for k, v in RECIPE[name].items() if k != "default"} for name in ("epochs", "keep", "devices", "backend")
} | {"name": {"type": "string"}}
KNOWN = Catalog.model_validate_json(
    json.dumps(
        {
            "digest": "0",
            "trainable": {
                "mnist_cnn": {
                    "name": "mnist_cnn",
                    "task": "multiclass",
                    "summary": "digits",
                    "dataset": "mnist",
                    "homepage": "",
                    "recipes": {
                        "quick": {name: {"default": 1, "constraints": said} for name, said in CONSTRAINTS.items()}
                    },
                }
            },
        }
    )
)


def test_the_zoo_is_listed_without_being_imported() -> None:
    """By file names."""
    assert {"mnist_cnn", "mnist_mlp", "neuron", "sentiment_lstm"} <= set(list_models())


def test_unknown_names_suggest_the_closest() -> None:
    """Model, recipe and key; with nothing close, with all that is valid."""
    with pytest.raises(UnknownName, match="unknown model 'mnist_cn'; did you mean mnist_cnn"):
        KNOWN.find("mnist_cn")
    with pytest.raises(InvalidRecipe, match="unknown recipe 'quik'; did you mean quick"):
        KNOWN.find("mnist_cnn").check_recipe("quik", {})
    with pytest.raises(InvalidRecipe, match="unknown recipe key 'zzz'; valid: backend, devices, epochs, keep, name"):
        KNOWN.find("mnist_cnn").check_recipe("quick", {"zzz": 1})
    KNOWN.find("mnist_cnn").check_recipe("quick", {"epochs": 3})


@pytest.mark.parametrize("value", [3, "3", 1, 1000])
def test_a_value_in_range_is_accepted(value: object) -> None:
    """As a number, or as the text of a command line."""
    KNOWN.find("mnist_cnn").check_recipe("quick", {"epochs": value, "devices": "2", "keep": "last", "name": "12"})


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        ({"epochs": 0}, "recipe key 'epochs': received 0, allowed: a whole number from 1 to 1,000"),
        ({"epochs": "1001"}, "received '1001', allowed: a whole number"),
        ({"epochs": 2.5}, "received 2.5"),
        ({"epochs": True}, "received True"),
        ({"epochs": "many"}, "received 'many'"),
        ({"epochs": [1]}, "received [1]"),
        ({"keep": "first"}, "received 'first', allowed: best, last"),
        ({"devices": "tpu"}, "received 'tpu', allowed: auto, cpu, gpu, or a whole number from 1 to 64"),
        ({"devices": 0}, "received 0"),
        ({"backend": "torch"}, "received 'torch', allowed: tensorflow, jax"),
        ({"epoch": 3}, "unknown recipe key 'epoch'; did you mean epochs?"),
    ],
)
def test_a_value_out_of_range_names_the_allowed_range(overrides: dict[str, object], text: str) -> None:
    """At submission, not hours later in a worker."""
    with pytest.raises(InvalidRecipe, match=re.escape(text)):
        KNOWN.find("mnist_cnn").check_recipe("quick", overrides)


@pytest.mark.parametrize(
    ("recipe", "overrides", "expected"),
    [
        ("quick", {"backend": "jax"}, "jax"),
        ("quick", {"backend": "torch"}, "tensorflow"),
        ("quik", {"backend": "tensorflow"}, "tensorflow"),
        ("quik", {}, "tensorflow"),
    ],
)
def test_a_worker_knows_the_backend_before_anything_is_imported(
    recipe: str, overrides: dict[str, object], expected: str
) -> None:
    """Of a recipe that is wrong, any will do: whoever imports it says what is wrong."""
    assert parse_backend(KNOWN.find("mnist_cnn").recipe_value(recipe, overrides, "backend")) == expected


def test_a_store_that_no_trainer_has_seen_has_no_catalogue(tmp_path: Path) -> None:
    """Unknown, not empty."""
    assert read_catalog(tmp_path) is None


def test_a_catalogue_of_another_release_is_as_good_as_none(tmp_path: Path) -> None:
    """The next trainer writes it anew; nothing falls over it."""
    (tmp_path / catalog.FILE).write_text('{"digest": "0", "trainable": {"x": {"old": true}}}')
    assert read_catalog(tmp_path) is None


def test_the_digest_follows_the_source() -> None:
    """Stable between calls, so that a trainer describes an unchanged zoo once."""
    assert source_digest() == source_digest()
    assert len(source_digest()) == 64


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), "nan", "NaN", "-Infinity", "1e999", '"0.5"', "[" * 100_000]
)
def test_a_number_must_be_finite_however_it_is_written(value: object) -> None:
    """Bounds let NaN through, as no comparison with it is true; text in quotes is no number either."""
    rate = {"type": "number", "exclusiveMinimum": 0}
    fields = {
        "rate": {"default": 1, "constraints": rate},
        "devices": {"default": 1, "constraints": CONSTRAINTS["devices"]},
    }
    known = KNOWN.find("mnist_cnn").model_dump() | {"recipes": {"quick": fields}}
    for key in fields:
        with pytest.raises(InvalidRecipe, match=f"recipe key '{key}'"):
            TrainableModel.model_validate(known).check_recipe("quick", {key: value})
