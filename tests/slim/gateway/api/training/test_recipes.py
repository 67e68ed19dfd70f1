"""Recipes over HTTP: what each value is, may be and does."""

from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from flask.testing import FlaskClient
from pydantic import Field

from modelyard.models.catalog import FILE, Catalog, TrainableModel, describe_recipe
from modelyard.models.ranges import Choice, NumberRange
from modelyard.models.recipes import Recipe, recipe
from modelyard.models.registry.store import Store
from modelyard.services.gateway.settings import GatewaySettings
from tests.support.fakes import HALF_PLUS, FakeModelServer
from tests.support.ledgers import new_ledger_file


class Shape(StrEnum):
    """Of a filter."""

    ROUND = "round"
    SQUARE = "square"


@recipe
class Own(Recipe):
    """A recipe of somebody's own."""

    shape: Annotated[Shape, Field(description="<b>Form</b> of the filter.")] = Shape.ROUND
    flip: bool = False
    units: tuple[int, ...] = (64, 32)
    top: int | None = None
    word: str = "x"
    only: Literal["it"] = "it"


@pytest.fixture
def settings(filled: Store, server: FakeModelServer) -> GatewaySettings:
    search = {
        "learning_rate": NumberRange(kind="log", low=1e-4, high=1e-1),
        "shape": Choice(values=("round", "square")),
    }
    models = {
        "own": make_model("own", {"quick": describe_recipe(Own())}, search=search, metric="accuracy"),
        "bare": make_model("bare", {"quick": {}}),
    }
    broken = {"worse": "models/worse.py:3: no SPEC"}
    (filled.root / FILE).write_text(Catalog(digest="", trainable=models, broken=broken).model_dump_json())
    ledger_url = f"sqlite:///{new_ledger_file(filled.root.parent / 'ledger.db')}"
    return GatewaySettings(store=filled.root, serving=(server.address,), ledger_url=ledger_url)


def make_model(name: str, recipes: Any, **fields: Any) -> TrainableModel:
    return TrainableModel(name=name, task="", summary="", dataset="", homepage="", recipes=recipes, **fields)


def read_fields(client: FlaskClient) -> dict[str, Any]:
    (quick,) = client.get("/api/models/own/recipes").json["recipes"]
    return {field["name"]: field for field in quick["fields"]}


@pytest.mark.parametrize(
    ("name", "kind", "default", "allowed"),
    [
        ("epochs", "integer", 1, "a whole number from 1 to 1,000"),
        ("min_steps", "integer", 1, "a whole number of at least 1"),
        ("learning_rate", "number", 1e-3, "a number above 0 and of at most 10"),
        ("warmup", "number", 0.2, "a number of at least 0 and below 1"),
        ("optimizer", "choice", "adamw", "sgd, adam, adamw"),
        ("devices", "any", "auto", "auto, cpu, gpu, or a whole number from 1 to 64"),
        ("shape", "choice", "round", "round, square"),
        ("flip", "boolean", False, "true or false"),
        ("units", "list", [64, 32], "a list, such as [64, 32]"),
        ("top", "integer", None, "a whole number"),
        ("word", "text", "x", "text"),
        ("only", "text", "it", "it"),
    ],
)
def test_each_value_says_what_it_may_be(client: FlaskClient, name: str, kind: str, default: Any, allowed: str) -> None:
    """In words; of models of one's own, too."""
    found = read_fields(client)[name]
    assert (found["kind"], found["default"], found["allowed"]) == (kind, default, allowed)


def test_limits_are_numbers_that_a_form_can_use(client: FlaskClient) -> None:
    """Closed ones apart from open ones, and the description as it was written."""
    found = read_fields(client)
    limits = ("minimum", "maximum", "above", "below", "choices")
    assert [found["learning_rate"][name] for name in limits] == [None, 10, 0, None, None]
    assert [found["warmup"][name] for name in limits] == [0, None, None, 1, None]
    assert found["devices"]["choices"] == ["auto", "cpu", "gpu"]
    assert found["shape"]["description"] == "<b>Form</b> of the filter."


def test_a_search_has_its_keys_or_a_reason(client: FlaskClient) -> None:
    """Why a model cannot be searched is said before anybody tries."""
    search = client.get("/api/models/own/recipes").json["search"]
    assert (sorted(search["keys"]), search["metric"], search["reason"]) == (
        ["learning_rate", "shape"],
        "accuracy",
        None,
    )
    assert search["keys"]["learning_rate"] == {"kind": "log", "low": 1e-4, "high": 1e-1, "whole": False}
    bare = client.get("/api/models/bare/recipes").json
    assert (bare["recipes"], bare["search"]["reason"]) == (
        [{"name": "quick", "fields": []}],
        "bare cannot be searched: it declares no ranges",
    )


@pytest.mark.parametrize(
    ("model", "status", "text"),
    [
        ("owm", 404, "did you mean own"),
        ("worse", 400, "models/worse.py:3: no SPEC"),
        (HALF_PLUS, 404, "there is nothing to train it with"),
    ],
)
def test_a_model_that_cannot_be_trained_says_why(client: FlaskClient, model: str, status: int, text: str) -> None:
    """An unknown one, a broken one, and one that is only served."""
    refused = client.get(f"/api/models/{model}/recipes")
    assert (refused.status_code, text in refused.json["error"]) == (status, True), refused.json


def test_without_a_trainer_it_is_to_be_tried_again(client: FlaskClient, filled: Store) -> None:
    """There is no catalog yet."""
    (filled.root / FILE).unlink()
    refused = client.get("/api/models/own/recipes")
    assert (refused.status_code, "no trainer has announced its models yet" in refused.json["error"]) == (503, True)


def test_an_enumeration_of_ones_own_is_checked_as_any_choice() -> None:
    """What a field refers to in its schema comes with it."""
    model = make_model("own", {"quick": describe_recipe(Own())})
    model.check_recipe("quick", {"shape": "square"})
    with pytest.raises(Exception, match="allowed: round, square"):
        model.check_recipe("quick", {"shape": "oval"})
