"""Recipes: documented values that reject what they do not know."""

from dataclasses import FrozenInstanceError, fields
from typing import Annotated, Any

import pytest
from pydantic import Field, TypeAdapter

from modelyard.models.errors import InvalidRecipe
from modelyard.models.recipes import Recipe, recipe


@recipe
class Extended(Recipe):
    channels: Annotated[int, Field(ge=1, description="Channels.")] = 16


def test_text_from_a_command_line_becomes_the_right_type() -> None:
    """Values given as strings are converted."""
    found = Extended().override({"epochs": "3", "learning_rate": "0.5", "keep": "last", "channels": "8"})
    assert (found.epochs, found.learning_rate, found.keep, found.channels) == (3, 0.5, "last", 8)


def test_what_is_not_overridden_stays() -> None:
    """Overrides leave the other values, and the original, alone."""
    original = Extended(seed=7)
    assert original.override({"epochs": 2}).seed == 7
    assert original.epochs == 1


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"epoch": 3}, "did you mean epochs"),
        ({"chanels": 3}, "did you mean channels"),
        ({"epochs": 0}, "'epochs'.*greater than or equal to 1, received 0"),
        ({"epochs": "many"}, "'epochs'.*received 'many'"),
        ({"schedule": "cosine"}, "'schedule'.*'constant' or 'one_cycle'"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"__class__": 1}, "unknown recipe key"),
    ],
)
def test_bad_values_are_refused_by_name(values: dict[str, Any], text: str) -> None:
    """The error names the key, what is allowed and what came."""
    with pytest.raises(InvalidRecipe, match=text):
        Extended().override(values)


def test_recipes_cannot_be_changed() -> None:
    """A recipe is a value."""
    with pytest.raises(FrozenInstanceError):
        Recipe().epochs = 3  # type: ignore[misc]


def test_every_field_is_documented() -> None:
    """Each field's meaning reaches the schema, and so the catalogue and the documentation."""
    schema = TypeAdapter(Recipe).json_schema()["properties"]
    assert [entry.name for entry in fields(Recipe) if not schema[entry.name].get("description")] == []
