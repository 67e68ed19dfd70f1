"""What can be trained: ``list_models()`` imports nothing, ``load_spec(name)`` imports one model's file.

Other processes do not import models (they need Keras). They read ``<store>/catalog.json``, which the trainer writes
(``modelyard.models.listing``): for every model its task, summary, and each recipe's values and schema; for every file
that cannot be used, why.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from modelyard.models.check_spec import check_spec
from modelyard.models.errors import InvalidRecipe, InvalidSpec, UnknownName, describe_unknown
from modelyard.models.ranges import Range
from modelyard.models.recipes import Recipe
from modelyard.models.registry.store import replace_file
from modelyard.models.resolve import inspect_data, resolve
from modelyard.models.sources.files import EXAMPLES, Sources, find_models
from modelyard.models.sources.loading import load_model
from modelyard.models.spec import ModelSpec

FILE = "catalog.json"
KINDS = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list, such as [64, 32]",
    "string": "text",
}
LIMITS = {"minimum": "of at least", "exclusiveMinimum": "above", "maximum": "of at most", "exclusiveMaximum": "below"}


def list_models(sources: Sources = EXAMPLES) -> tuple[str, ...]:
    """Names of all models, sorted; imports none of them."""
    return tuple(find_models(sources).files)


def load_spec(name: str, sources: Sources = EXAMPLES) -> ModelSpec:
    """Imports one model's file and returns its ``SPEC``.

    Raises:
        InvalidSpec: it cannot be used; with file and line.
        UnknownName: there is no such file; the text has the closest names.
    """
    return load_model(find_models(sources).find(name)).spec


def resolve_spec(name: str, sources: Sources = EXAMPLES) -> ModelSpec:
    """A model's spec with all that follows from a glance at its data."""
    spec = load_spec(name, sources)
    found = resolve(spec, inspect_data(spec))
    check_spec(found)
    return found


def resolve_recipe(spec: ModelSpec, name: str, overrides: Mapping[str, Any]) -> Recipe:
    """The named recipe with overrides applied.

    Raises:
        InvalidRecipe: an unknown recipe, an unknown key or a value out of range.
    """
    if name not in spec.recipes:
        raise InvalidRecipe(describe_unknown("recipe", name, spec.recipes))
    chosen: Recipe = spec.recipes[name]
    return chosen.override(overrides)


# --- catalog.json ---------------------------------------------------------------------------------------------------


class RecipeField(BaseModel):
    """One value of a recipe that a job may override: its default; type, bounds and description as JSON schema."""

    model_config = ConfigDict(frozen=True)

    default: Any
    constraints: dict[str, Any]


class TrainableModel(BaseModel):
    """One model that can be trained, described without its code."""

    model_config = ConfigDict(frozen=True)

    name: str
    task: str
    summary: str
    dataset: str
    homepage: str
    recipes: dict[str, dict[str, RecipeField]]
    search: dict[str, Range] = {}
    """Ranges that a search samples from, by recipe key."""
    metric: str = ""
    """Metric that versions, and trials of a search, are compared by: more is better."""
    pool: str = ""
    """The pool of model servers that its spec names; empty: none."""
    sources: dict[str, str] = {}
    """SHA-256 by path of the files that it was made from: others make another entry."""

    def check_recipe(self, recipe: str, overrides: Mapping[str, Any]) -> None:
        """Checks a job's recipe before it is queued.

        Raises:
            InvalidRecipe: an unknown recipe or key, with the closest valid names; a value out of range, with the range.
        """
        if recipe not in self.recipes:
            raise InvalidRecipe(describe_unknown("recipe", recipe, self.recipes))
        for key, value in overrides.items():
            if key not in self.recipes[recipe]:
                raise InvalidRecipe(describe_unknown("recipe key", key, self.recipes[recipe]))
            constraints = self.recipes[recipe][key].constraints
            if not _fits(value, constraints):
                raise InvalidRecipe(
                    f"recipe key {key!r}: received {value!r}, allowed: {describe_constraints(constraints)}"
                )

    def recipe_value(self, recipe: str, overrides: Mapping[str, Any], key: str) -> Any:
        """The value of ``key`` after overrides; None if this release's zoo knows no such recipe or key."""
        found = self.recipes.get(recipe, {}).get(key)
        return overrides.get(key, found.default if found else None)


def _fits(value: Any, constraints: Mapping[str, Any]) -> bool:
    """Whether a value, or the JSON value of a command line's text, matches a JSON schema."""
    import jsonschema  # 5 MB, only for processes that accept jobs

    candidates = [value]
    if isinstance(value, str):
        with suppress(ValueError, RecursionError):
            candidates.append(json.loads(value))
            if isinstance(candidates[1], str):  # a text in quotes is not what they enclose
                del candidates[1]
    validator = jsonschema.Draft202012Validator(constraints)
    return any(_is_finite(candidate) and validator.is_valid(candidate) for candidate in candidates)


def _is_finite(value: Any) -> bool:
    """JSON Schema's bounds let NaN through: no comparison with it is true."""
    return not isinstance(value, float) or math.isfinite(value)


def describe_constraints(constraints: Mapping[str, Any]) -> str:
    """What a value's JSON schema allows, in words: "a whole number from 1 to 1,000"."""
    if "anyOf" in constraints:
        ways = [way for way in constraints["anyOf"] if way.get("type") != "null"]
        return ", or ".join(describe_constraints(way) for way in ways)
    if "enum" in constraints or "const" in constraints:
        return ", ".join(map(str, constraints.get("enum", [constraints.get("const")])))
    kind = KINDS.get(constraints.get("type", ""), "any value")
    if "minimum" in constraints and "maximum" in constraints:
        return f"{kind} from {constraints['minimum']:,} to {constraints['maximum']:,}"
    limits = [f"{words} {constraints[key]:,}" for key, words in LIMITS.items() if key in constraints]
    return f"{kind} {' and '.join(limits)}".rstrip()


class Catalog(BaseModel):
    """Contents of ``catalog.json``."""

    model_config = ConfigDict(frozen=True)

    digest: str
    """SHA-256 over this release's source; another release needs a new file."""
    trainable: dict[str, TrainableModel]
    broken: dict[str, str] = {}
    """Why a model, or a file that is to be one, cannot be used; by name, or by path."""

    def find(self, name: str) -> TrainableModel:
        """The model of this name.

        Raises:
            InvalidSpec: its file cannot be used; with file and line.
            UnknownName: there is none; with the closest names.
        """
        if name in self.broken:
            raise InvalidSpec(self.broken[name])
        if name not in self.trainable:
            raise UnknownName(describe_unknown("model", name, self.trainable))
        return self.trainable[name]


def describe_model(spec: ModelSpec) -> TrainableModel:
    return TrainableModel(
        name=spec.name,
        task=spec.task,
        summary=spec.summary,
        dataset=spec.dataset.name,
        homepage=spec.dataset.homepage,
        recipes={name: describe_recipe(chosen) for name, chosen in spec.recipes.items()},
        search=dict(spec.search),
        metric=spec.gate.metric,
        pool=spec.pool,
    )


def describe_recipe(chosen: Recipe) -> dict[str, RecipeField]:
    """Each value with its default, type, bounds and description."""
    schema = TypeAdapter(type(chosen)).json_schema()
    entries = _inline(schema["properties"], schema.get("$defs", {}))
    return {
        key: RecipeField(default=getattr(chosen, key), constraints={k: v for k, v in entry.items() if k != "default"})
        for key, entry in entries.items()
    }


def _inline(schema: Any, definitions: Mapping[str, Any]) -> Any:
    """A JSON schema with what it refers to in place, such as an enumeration's values: each field stands by itself."""
    if isinstance(schema, list):
        return [_inline(entry, definitions) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _inline(value, definitions) for key, value in schema.items() if key != "$ref"}
    reference = schema.get("$ref")
    return _inline(definitions[reference.removeprefix("#/$defs/")], definitions) | found if reference else found


def source_digest() -> str:
    """SHA-256 over the source of ``modelyard/models/``: what describes models, and the zoo."""
    total = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        total.update(path.read_bytes())
    return total.hexdigest()


def read_catalog(store_root: Path) -> Catalog | None:
    """The catalog that a trainer wrote into the store; None if there is none, or one in another release's format."""
    try:
        return Catalog.model_validate_json((store_root / FILE).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None  # the next trainer that starts writes a new one


def write_catalog(store_root: Path, catalog: Catalog) -> None:
    """Replaces ``catalog.json``; raises ``OSError``."""
    replace_file(store_root / FILE, catalog.model_dump_json(indent=1).encode())
