"""The named inputs of a signature, found by the name of a tensor or of a column in the data. Slim."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from modelyard.models.inputs import canonical_category, name_encoded_image
from modelyard.models.registry.manifest import (
    ImageLimits,
    InputLimits,
    NamedLimits,
    OneLimits,
    SignatureSpec,
    TensorSpec,
)

TABULAR = frozenset({"number", "category", "date"})
"""Kinds of one value, which are more than the type of their tensor."""


@dataclass(frozen=True, eq=False)
class Column:
    """One input of a table."""

    spec: TensorSpec
    limits: OneLimits
    name: str
    """Of the input; its tensor's, but for an image that this signature takes as a file."""

    @property
    def kind(self) -> str:
        return self.limits.kind

    @cached_property
    def missing(self) -> bool:
        """Whether it may be missing."""
        return bool(getattr(self.limits, "missing", False))

    @cached_property
    def title(self) -> str:
        """Its name in the data."""
        return getattr(self.limits, "title", "") or self.name

    @cached_property
    def spellings(self) -> Mapping[str, str]:
        """The values of a category as training saw them, by themselves and by their canonical texts."""
        values = getattr(self.limits, "values", ())
        return {canonical_category(value): value for value in reversed(values)} | {value: value for value in values}

    @property
    def is_encoded(self) -> bool:
        """Whether it is an image as a file holds it."""
        return self.kind == "image" and self.spec.dtype == "string"


@dataclass(frozen=True, eq=False)
class InputTable:
    """The inputs of one signature, in the order of the data."""

    columns: tuple[Column, ...]

    @cached_property
    def by_title(self) -> Mapping[str, Column]:
        return {column.title: column for column in self.columns}

    @cached_property
    def by_name(self) -> Mapping[str, Column]:
        """By the names of tensors, and of images as of pixels."""
        return {**{column.name: column for column in self.columns}, **self.by_tensor}

    @cached_property
    def by_tensor(self) -> dict[str, Column]:
        return {column.spec.name: column for column in self.columns}

    @cached_property
    def ambiguous(self) -> frozenset[str]:
        """Names that are one column's title and another one's own."""
        return frozenset(name for name, column in self.by_name.items() if self.by_title.get(name, column) is not column)

    @cached_property
    def matches(self) -> dict[Hashable, tuple[tuple[Column, str], ...]]:
        """Columns by the names of a request, of the first few orders of names; filled by whoever matches them."""
        return {}

    def __reduce__(self) -> tuple[Any, ...]:
        return InputTable, (self.columns,)

    @cached_property
    def is_flat(self) -> bool:
        """Whether every input is one value, as a line of CSV holds it."""
        return all(column.kind in TABULAR | {"text"} for column in self.columns)

    def choose_names(self, given: frozenset[str]) -> Mapping[str, Column]:
        """The columns by what a client may call them, which its other names decide where a name means two.

        Empty if they do not: neither the titles nor the names of all.
        """
        if self.ambiguous.isdisjoint(given):
            return {**self.by_title, **self.by_name}
        return next((names for names in (self.by_title, self.by_tensor) if given == names.keys()), {})


def build_tables(limits: InputLimits | None, signatures: Mapping[str, SignatureSpec]) -> dict[str, InputTable]:
    """The tables of a version by signature: where it has named inputs, or one that is a single value.

    Args:
        limits: None of a version of which nothing is known but its signatures.
    """
    if limits is None:
        return {}
    found = {name: build_table(limits, signature) for name, signature in signatures.items()}
    return {name: table for name, table in found.items() if table is not None}


def build_table(limits: InputLimits, signature: SignatureSpec) -> InputTable | None:
    """The table of one signature; None where the manifest does not know all of its inputs."""
    if isinstance(limits, NamedLimits):
        known = {
            tensor: (name, one)
            for name, one in limits.inputs.items()
            for tensor in ((name, name_encoded_image(name, limits.inputs)) if isinstance(one, ImageLimits) else (name,))
        }
    elif limits.kind in TABULAR and len(signature.inputs) == 1:
        known = {signature.inputs[0].name: (signature.inputs[0].name, limits)}
    else:
        return None
    specs = {spec.name: spec for spec in signature.inputs}
    if not specs or not specs.keys() <= known.keys():
        return None
    return InputTable(
        tuple(Column(specs[tensor], one, name) for tensor, (name, one) in known.items() if tensor in specs)
    )


def list_limit_kinds(limits: InputLimits | None) -> dict[str, str]:
    """As ``inputs.list_kinds``, of a manifest."""
    if limits is None:
        return {}
    named = limits.inputs if isinstance(limits, NamedLimits) else {"": limits}
    return {name: one.kind for name, one in named.items()}
