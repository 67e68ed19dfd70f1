"""Completes a spec: what was left out comes from the data, or is a default for its kind of input."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from modelyard.models.data import Schema, Splits
from modelyard.models.errors import InvalidSpec, paths_as_written
from modelyard.models.inputs import ModelInput, State
from modelyard.models.metrics import default_metric
from modelyard.models.spec import Baseline, Encode, Gate, ModelSpec, PreparedData

KINDS: Mapping[str, str] = {
    "named": "tables",
    "vector": "vectors",
    "image": "images",
    "text": "texts",
    "sequence": "sequences",
}
"""Module of ``modelyard.models.defaults`` by kind of input: each has ``make_defaults``."""
_SCHEMA = TypeAdapter(Schema)


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """The steps of a model whose spec gives none, for one schema."""

    recipes: Mapping[str, Any]
    prepare: Callable[[Splits, Any], PreparedData]
    prepare_with_state: Callable[[Splits, Any, State], PreparedData]
    build: Callable[[Any, State], Any]
    encode: Callable[[State], Encode] | None = None
    baseline: Callable[[Splits], Baseline] | None = None


def inspect_data(spec: ModelSpec) -> Schema | None:
    """What the spec's data says of itself at a glance; None where the spec says it."""
    if spec.dataset.inspect is None or spec.file is None:
        return None
    with paths_as_written(spec.file.parent):
        return spec.dataset.inspect(spec.file.parent)


def resolve(spec: ModelSpec, schema: Schema | None) -> ModelSpec:
    """The spec with all that it leaves out, but for labels that only the whole data knows.

    Args:
        schema: of the data, by ``inspect`` or as read; None for data that does not describe itself.

    Raises:
        InvalidSpec: something is neither given nor known from the data.
    """
    known = Schema(
        spec.input or _require(schema, "input", spec).input,
        spec.task or _require(schema, "task", spec).task,
        spec.labels or (schema.labels if schema else ()),
    )
    found = replace(spec, input=known.input, task=known.task, labels=known.labels)
    return _fill_steps(replace(found, gate=spec.gate or Gate(default_metric(found.task, spec.metrics))), known)


def _require(schema: Schema | None, field: str, spec: ModelSpec) -> Schema:
    if schema is None:
        raise InvalidSpec(f"{spec.name}: {field} is missing: its dataset {spec.dataset.name!r} does not tell")
    return schema


def _fill_steps(spec: ModelSpec, schema: Schema) -> ModelSpec:
    """Defaults for steps and recipes that were left out. Steps that belong together are taken together."""
    if spec.fit and spec.prepare is None and find_kind(schema.input) not in KINDS:
        spec = replace(spec, prepare=prepare_nothing)
    if spec.prepare is not None and spec.build is not None and spec.recipes:
        return spec
    defaults = make_defaults(spec, schema)
    filled = replace(
        spec,
        recipes=spec.recipes or defaults.recipes,
        build=defaults.build if spec.build is None else spec.build,
        baseline=spec.baseline or (defaults.baseline if spec.gate.metric == default_metric(spec.task, {}) else None),
    )
    if spec.prepare is not None:
        return filled
    return replace(
        filled,
        prepare=defaults.prepare,
        prepare_with_state=spec.prepare_with_state or defaults.prepare_with_state,
        encode=spec.encode or defaults.encode,
    )


def prepare_nothing(splits: Splits, recipe: Any) -> PreparedData:  # noqa: ARG001  # the contract passes them
    """For a training loop that makes its own examples."""
    return PreparedData(train=None, validation=None)


def make_defaults(spec: ModelSpec, schema: Schema) -> Defaults:
    """The default steps for a kind of input.

    Raises:
        InvalidSpec: there are none for it.
    """
    kind = find_kind(schema.input)
    if kind not in KINDS:
        missing = [name for name in ("prepare", "build", "recipes") if not getattr(spec, name)]
        raise InvalidSpec(f"{spec.name}: {', '.join(missing)} is missing: there is no default for the input {kind!r}")
    defaults: Defaults = import_module(f"modelyard.models.defaults.{KINDS[kind]}").make_defaults(schema)
    return defaults


def find_kind(given: ModelInput) -> str:
    """The kind of one input; ``named`` for several."""
    return "named" if isinstance(given, Mapping) else given.kind


def write_schema(path: Path, schema: Schema) -> Path:
    """Writes a schema as JSON, for processes that do not read the data."""
    path.write_bytes(_SCHEMA.dump_json(schema))
    return path


def read_schema(path: Path) -> Schema:
    """Reads what ``write_schema`` wrote."""
    return _SCHEMA.validate_json(path.read_bytes())
