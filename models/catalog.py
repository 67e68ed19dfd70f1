"""The zoo's models: ``list_models()`` imports none of them, ``load_spec(name)`` imports one.

Other processes do not import the zoo (it needs Keras). They read ``<store>/catalog.json``, which the trainer writes
with ``python -m modelyard.models.catalog STORE``: for every model its task, summary, and each recipe's values and
schema.
"""

import hashlib
import importlib
import json
import math
import pkgutil
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from modelyard.models import backend, zoo
from modelyard.models.backend import use_backend
from modelyard.models.errors import InvalidRecipe, UnknownName
from modelyard.models.ranges import Range
from modelyard.models.recipes import Recipe
from modelyard.models.registry.store import replace_file
from modelyard.models.resolve import inspect_data, resolve
from modelyard.models.spec import ModelSpec

FILE = "catalog.json"
MINIMUM_KEYS = ("minimum", "exclusiveMinimum")


def list_models() -> tuple[str, ...]:
    """Names of all trainable models, sorted; imports none of them."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(zoo.__path__)))


def load_spec(name: str) -> ModelSpec:
    """Imports one zoo file and returns its ``SPEC``.

    Raises:
        UnknownName: there is no such file; the text has the closest names.
    """
    if name not in list_models():
        raise UnknownName(describe_unknown("model", name, list_models()))
    spec = importlib.import_module(f"modelyard.models.zoo.{name}").SPEC
    if not isinstance(spec, ModelSpec) or spec.name != name:
        raise TypeError(f"models/zoo/{name}.py must end in SPEC = ModelSpec(name={name!r}, ...)")
    return spec


def resolve_spec(name: str) -> ModelSpec:
    """A model's spec with all that follows from a glance at its data."""
    spec = load_spec(name)
    return resolve(spec, inspect_data(spec))


def resolve_recipe(spec: ModelSpec, name: str, overrides: Mapping[str, Any]) -> Recipe:
    """The named recipe with overrides applied.

    Raises:
        InvalidRecipe: an unknown recipe, an unknown key or a value out of range.
    """
    if name not in spec.recipes:
        raise InvalidRecipe(describe_unknown("recipe", name, spec.recipes))
    chosen: Recipe = spec.recipes[name]
    return chosen.override(overrides)


def describe_unknown(what: str, name: str, valid: Iterable[str]) -> str:
    """``unknown model 'mnst'; did you mean mnist_cnn?``; the text lists all valid names if none is close."""
    candidates = sorted(valid)
    close = get_close_matches(name, candidates, n=3, cutoff=0.5)
    if close:
        return f"unknown {what} {name!r}; did you mean {', '.join(close)}?"
    return f"unknown {what} {name!r}; valid: {', '.join(candidates) or 'none yet'}"


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
    """A value's JSON schema as text: ``integer, minimum 1, maximum 1000``."""
    if "anyOf" in constraints:
        return ", or ".join(describe_constraints(choice) for choice in constraints["anyOf"])
    if "enum" in constraints:
        return ", ".join(map(str, constraints["enum"]))
    bounds = sorted(set(constraints) - {"type", "title", "description"}, key=lambda key: (key not in MINIMUM_KEYS, key))
    return ", ".join([constraints.get("type", "any"), *(f"{key} {constraints[key]}" for key in bounds)])


class Catalog(BaseModel):
    """Contents of ``catalog.json``."""

    model_config = ConfigDict(frozen=True)

    digest: str
    """SHA-256 over the zoo's source; another zoo needs a new file."""
    trainable: dict[str, TrainableModel]

    def find(self, name: str) -> TrainableModel:
        """The model of this name; raises ``UnknownName`` with the closest names."""
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
        recipes={name: _fields(chosen) for name, chosen in spec.recipes.items()},
        search=dict(spec.search),
        metric=spec.gate.metric,
    )


def _fields(chosen: Recipe) -> dict[str, RecipeField]:
    schema = TypeAdapter(type(chosen)).json_schema()
    return {
        key: RecipeField(default=getattr(chosen, key), constraints={k: v for k, v in entry.items() if k != "default"})
        for key, entry in schema["properties"].items()
    }


def source_digest() -> str:
    """SHA-256 over the source of ``models/``: equal means that ``catalog.json`` is up to date."""
    folder = Path(zoo.__path__[0]).parent
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        total.update(path.read_bytes())
    return total.hexdigest()


def read_catalog(store_root: Path) -> Catalog | None:
    """The catalog that a trainer wrote into the store; None if there is none, or one in another release's format."""
    try:
        return Catalog.model_validate_json((store_root / FILE).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None  # the next trainer that starts writes a new one


def write_catalog(store_root: Path) -> Catalog:
    """Imports the whole zoo (needs Keras) and writes ``catalog.json``."""
    use_backend(backend.DEFAULT)
    catalog = Catalog(
        digest=source_digest(), trainable={name: describe_model(resolve_spec(name)) for name in list_models()}
    )
    replace_file(store_root / FILE, catalog.model_dump_json(indent=1).encode())
    return catalog


def main(store_root: str) -> None:
    write_catalog(Path(store_root))


if __name__ == "__main__":
    main(*sys.argv[1:])
