"""Recipes over HTTP: what each value of a model's recipes is, may be and does, and what a search tries."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from flask import Blueprint
from pydantic import Field

from modelyard.models.catalog import RecipeField, TrainableModel, describe_constraints, read_catalog
from modelyard.models.errors import UnknownName
from modelyard.models.ranges import Range
from modelyard.models.registry.store import Store
from modelyard.services.gateway.auth.principal import current_principal
from modelyard.services.gateway.http.json_body import Body
from modelyard.services.gateway.http.operation import json_view

Kind = Literal["integer", "number", "text", "boolean", "choice", "list", "any"]
KINDS: Mapping[str, Kind] = {
    "integer": "integer",
    "number": "number",
    "string": "text",
    "boolean": "boolean",
    "array": "list",
}


class FieldResponse(Body):
    """A value of a recipe that a job may override."""

    name: str
    description: str
    kind: Kind
    default: Any
    minimum: int | float | None = Field(description="The least value; null without a limit.")
    maximum: int | float | None
    above: int | float | None = Field(description="It must be greater than this one; null without such a limit.")
    below: int | float | None
    choices: list[str | int | float] | None
    """The values that there are; of kind any, those that are words."""
    allowed: str
    """The same in words."""


class RecipeResponse(Body):
    """One recipe."""

    name: str
    fields: list[FieldResponse]


class SearchSpace(Body):
    """What a search can try; ``reason`` says why it cannot, else it is null."""

    keys: dict[str, Range]
    metric: str
    """More of it is better."""
    reason: str | None


class RecipesResponse(Body):
    """A model's recipes."""

    model: str
    summary: str
    recipes: list[RecipeResponse]
    search: SearchSpace


def routes(store: Store) -> Blueprint:
    """The view ``/api/models/NAME/recipes``."""
    views = Blueprint("recipes", __name__)

    @views.get("/api/models/<model>/recipes")
    @json_view(errors=(404,))
    def list_recipes(model: str) -> RecipesResponse:
        """A model's recipes: each value with its type, default, range and description, and what a search tries."""
        known = current_principal().filter_catalog(read_catalog(store.root))
        if known is None:
            from modelyard.services.jobs import require_catalog  # loads Celery

            known = require_catalog(None)
        if model not in known.trainable and model not in known.broken and store.versions(model):
            raise UnknownName(f"{model} was imported, or its file is gone: there is nothing to train it with")
        return recipes_response(known.find(model))

    return views


def recipes_response(trainable: TrainableModel) -> RecipesResponse:
    recipes = [
        RecipeResponse(name=name, fields=[field_response(key, field) for key, field in fields.items()])
        for name, fields in trainable.recipes.items()
    ]
    reason = None if trainable.search else f"{trainable.name} cannot be searched: it declares no ranges"
    space = SearchSpace(keys=trainable.search, metric=trainable.metric, reason=reason)
    return RecipesResponse(model=trainable.name, summary=trainable.summary, recipes=recipes, search=space)


def field_response(name: str, field: RecipeField) -> FieldResponse:
    """A field by the JSON schema that the catalog has of it."""
    schema = field.constraints
    ways = [way for way in schema.get("anyOf", [schema]) if way.get("type") != "null"]
    one = ways[0] if len(ways) == 1 else {}
    return FieldResponse(
        name=name,
        description=schema.get("description", ""),
        kind="choice" if "enum" in one else KINDS.get(one.get("type", ""), "any"),
        default=field.default,
        minimum=one.get("minimum"),
        maximum=one.get("maximum"),
        above=one.get("exclusiveMinimum"),
        below=one.get("exclusiveMaximum"),
        choices=list(list_choices(ways)) or None,
        allowed=describe_constraints(schema),
    )


def list_choices(ways: list[Mapping[str, Any]]) -> Iterator[str | int | float]:
    for way in ways:
        yield from way.get("enum", [way["const"]] if "const" in way else ())
