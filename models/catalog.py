"""The zoo: ``names()`` lists it without importing it, ``load(name)`` imports one model.

Other processes do not import the zoo (it needs Keras). They read ``<store>/catalog.json``, which the trainer writes
with ``python -m modelyard.models.catalog STORE``: for every model its task, summary, and each recipe's values and
schema.
"""

import hashlib
import importlib
import json
import pkgutil
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from modelyard.models import backend, zoo
from modelyard.models.errors import InvalidRecipe, UnknownName
from modelyard.models.ranges import Range
from modelyard.models.registry.store import replace_file
from modelyard.models.spec import ModelSpec, Recipe

FILE = "catalog.json"
LEAST = ("minimum", "exclusiveMinimum")


def names() -> tuple[str, ...]:
    """Names of all trainable models, sorted; imports none of them."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(zoo.__path__)))


def load(name: str) -> ModelSpec:
    """Imports one zoo file and returns its ``SPEC``.

    Raises:
        UnknownName: no such file; the closest names are given.
    """
    if name not in names():
        raise UnknownName(unknown("model", name, names()))
    spec = importlib.import_module(f"modelyard.models.zoo.{name}").SPEC
    if not isinstance(spec, ModelSpec) or spec.name != name:
        raise TypeError(f"models/zoo/{name}.py must end in SPEC = ModelSpec(name={name!r}, ...)")
    return spec


def recipe_of(spec: ModelSpec, name: str, overrides: Mapping[str, Any]) -> Recipe:
    """The named recipe with overrides in place.

    Raises:
        InvalidRecipe: unknown recipe, unknown key or a value out of range.
    """
    if name not in spec.recipes:
        raise InvalidRecipe(unknown("recipe", name, spec.recipes))
    chosen: Recipe = spec.recipes[name]
    return chosen.override(overrides)


def unknown(what: str, name: str, valid: Iterable[str]) -> str:
    """``unknown model 'mnst'; did you mean mnist_cnn?`` or, with nothing close, all that is valid."""
    candidates = sorted(valid)
    close = get_close_matches(name, candidates, n=3, cutoff=0.5)
    if close:
        return f"unknown {what} {name!r}; did you mean {', '.join(close)}?"
    return f"unknown {what} {name!r}; valid: {', '.join(candidates) or 'none yet'}"


# --- the catalogue as other processes see it ------------------------------------------------------------------------


class RecipeField(BaseModel):
    """One overridable value: its default in this recipe; type, bounds and description as JSON schema."""

    model_config = ConfigDict(frozen=True)

    default: Any
    constraints: dict[str, Any]


class Trainable(BaseModel):
    """What can be asked of one model, without its code."""

    model_config = ConfigDict(frozen=True)

    name: str
    task: str
    summary: str
    dataset: str
    homepage: str
    recipes: dict[str, dict[str, RecipeField]]
    search: dict[str, Range] = {}
    """What a search may try, by recipe key."""
    metric: str = ""
    """What versions, and trials of a search, are compared by: more is better."""

    def check(self, recipe: str, overrides: Mapping[str, Any]) -> None:
        """Rejects unknown recipes, unknown keys and values out of range at the door.

        Raises:
            InvalidRecipe: with the closest valid names, or with the values that are allowed.
        """
        if recipe not in self.recipes:
            raise InvalidRecipe(unknown("recipe", recipe, self.recipes))
        for key, value in overrides.items():
            if key not in self.recipes[recipe]:
                raise InvalidRecipe(unknown("recipe key", key, self.recipes[recipe]))
            constraints = self.recipes[recipe][key].constraints
            if not _fits(value, constraints):
                raise InvalidRecipe(f"recipe key {key!r}: received {value!r}, allowed: {allowed(constraints)}")

    def value(self, recipe: str, overrides: Mapping[str, Any], key: str) -> Any:
        """What a recipe, if there is one, has for ``key``; None if this release's zoo does not know it."""
        known = self.recipes.get(recipe, {}).get(key)
        return overrides.get(key, known.default if known else None)


def _fits(value: Any, constraints: Mapping[str, Any]) -> bool:
    """Whether a value, or what a text of a command line stands for, is of a JSON schema."""
    import jsonschema  # 5 MB, for whoever asks for a job

    read = value
    if isinstance(value, str):
        with suppress(ValueError):
            read = json.loads(value)
    validator = jsonschema.Draft202012Validator(constraints)
    return validator.is_valid(value) or validator.is_valid(read)


def allowed(constraints: Mapping[str, Any]) -> str:
    """A value's JSON schema for people: ``integer, minimum 1, maximum 1000``."""
    if "anyOf" in constraints:
        return ", or ".join(allowed(choice) for choice in constraints["anyOf"])
    if "enum" in constraints:
        return ", ".join(map(str, constraints["enum"]))
    said = sorted(set(constraints) - {"type", "title", "description"}, key=lambda key: (key not in LEAST, key))
    return ", ".join([constraints.get("type", "any"), *(f"{key} {constraints[key]}" for key in said)])


class Catalog(BaseModel):
    """``catalog.json``."""

    model_config = ConfigDict(frozen=True)

    digest: str
    """SHA-256 over the zoo's source; a different zoo needs a new file."""
    trainable: dict[str, Trainable]

    def find(self, name: str) -> Trainable:
        """Raises ``UnknownName`` with the closest names."""
        if name not in self.trainable:
            raise UnknownName(unknown("model", name, self.trainable))
        return self.trainable[name]


def describe(spec: ModelSpec) -> Trainable:
    return Trainable(
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


def digest() -> str:
    """SHA-256 over the source of ``models/``: equal means that ``catalog.json`` is up to date."""
    folder = Path(zoo.__path__[0]).parent
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        total.update(path.read_bytes())
    return total.hexdigest()


def read(store_root: Path) -> Catalog | None:
    """The catalogue a trainer left in the store; None if none did yet, or one of another release in another form."""
    try:
        return Catalog.model_validate_json((store_root / FILE).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None  # the next trainer to start writes it anew


def write(store_root: Path) -> Catalog:
    """Imports the whole zoo (needs Keras) and writes ``catalog.json``."""
    backend.begin(backend.DEFAULT)
    catalog = Catalog(digest=digest(), trainable={name: describe(load(name)) for name in names()})
    replace_file(store_root / FILE, catalog.model_dump_json(indent=1).encode())
    return catalog


def main(store_root: str) -> None:
    write(Path(store_root))


if __name__ == "__main__":
    main(*sys.argv[1:])
