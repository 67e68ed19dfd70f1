"""Histograms of inputs and answers of a version's evaluation: the reference that drift is measured against.

Slim. Features of one input need no model: of an image its brightness, contrast and inked share, of a text its
characters and words, of a vector each of its numbers, or the means of equal parts where they are too many, and their
mean, spread, smallest and largest; of a sequence the latter, and its steps; of a number and a date itself, or that it
is missing. A category is counted by its value.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from pydantic import Field

from modelyard.models.registry.extra_files import read_extra
from modelyard.models.registry.manifest import FrozenModel
from modelyard.models.types import Array

FILE = "assets.extra/reference.json"
BINS = 10
MAX_NUMBERS = 256
"""Numbers of a vector that have a histogram each; a longer vector has as many parts."""
MAX_SHARES = 50
"""Values of a category that are counted by themselves."""
PRECISION = 1e-6
"""Relative distance of numbers that are taken for one: training's may have 64 bits where a request's have 32."""
SMALLEST_MARGIN = 1e-12
"""The same, absolute, for numbers around zero."""
INK_THRESHOLD = 128
"""Pixels above it count as inked."""


class Histogram(FrozenModel):
    """Counts of values by bin; the two outer bins have no limit."""

    edges: tuple[float, ...]
    """Inner edges, ascending: one fewer than bins."""
    counts: tuple[int, ...]
    missing: bool = False
    """Whether one more count, the last, is of missing values."""

    def count(self, values: Array) -> tuple[int, ...]:
        """Counts of other values in the same bins."""
        array = np.asarray(values, np.float64)
        known = array[~np.isnan(array)] if self.missing else array
        bins = np.searchsorted(np.array(self.edges), known, side="right")
        counts = np.bincount(bins, minlength=len(self.counts) - self.missing).tolist()
        return (*counts, len(array) - len(known)) if self.missing else tuple(counts)


class Shares(FrozenModel):
    """Counts of a category's commonest values, of all others, and of missing ones, in this order."""

    values: tuple[str, ...]
    counts: tuple[int, ...]

    def count(self, values: Iterable[str]) -> tuple[int, ...]:
        """Counts of other values. One that was never seen is among the others."""
        found = Counter(values)
        known = [found[value] for value in self.values]
        return (*known, found.total() - sum(known) - found[""], found[""])


class Reference(FrozenModel):
    """``reference.json``: histograms by name, ``input ...`` and ``answer ...``, and categories in the same way."""

    histograms: dict[str, Histogram] = Field(default_factory=dict)
    shares: dict[str, Shares] = Field(default_factory=dict)

    @property
    def series(self) -> Mapping[str, Histogram | Shares]:
        """All of them."""
        return self.histograms | self.shares


def build_reference(
    labels: Sequence[str],
    inputs: Iterable[Any],
    outputs: Mapping[str, Array],
    kinds: Mapping[str, str] = MappingProxyType({}),
) -> Reference:
    """Histograms of a dataset's inputs and of a version's outputs.

    Args:
        inputs: ``str``, arrays of one shape, or several of them by name.
        outputs: ``class_id [N]``, ``score [N]``, ``value [N]``, as far as there are some.
        kinds: of inputs by name, as ``inputs.list_kinds``; without, texts are texts and arrays are what they look like.
    """
    rows = [extract_features(x, kinds) for x in inputs]
    columns = {f"input {name}": [row[name] for row in rows] for name in rows[0]} if rows else {}
    shares = {name: count_shares(values) for name, values in columns.items() if isinstance(values[0], str)}
    single = {f"input {name}" for name, kind in kinds.items() if kind in ("number", "date")}
    found = {
        name: quantile_histogram(np.array(values), missing=name in single)
        for name, values in columns.items()
        if name not in shares
    }
    if "class_id" in outputs:
        edges = tuple(float(k) for k in np.arange(1, len(labels)) - 0.5)
        found["answer class"] = count_histogram(edges, outputs["class_id"])
    for name in ("score", "value"):
        if name in outputs:
            found[f"answer {name}"] = quantile_histogram(outputs[name])
    return Reference(histograms=found, shares=shares)


def extract_features(x: Any, kinds: Mapping[str, str] = MappingProxyType({})) -> dict[str, float | str]:
    """Named numbers, or categories, of one example's input, or inputs."""
    if isinstance(x, Mapping):
        return {name: value for key, one in x.items() for name, value in _named_features(key, one, kinds.get(key, ""))}
    return dict(_features_of_one(x, kinds.get("", "")))


def _features_of_one(x: Any, kind: str) -> Mapping[str, float | str]:
    if kind == "category":
        return {"value": str(x)}
    if kind == "date":
        return {"value": count_days(str(x))}
    if isinstance(x, str):
        return {"characters": float(len(x)), "words": float(len(x.split()))}
    return extract_numbers(x, kind)


def extract_numbers(x: Any, kind: str = "") -> dict[str, float | str]:
    """Of pixels, a sequence, a vector or a number."""
    values = np.asarray(x, np.float64)
    if kind == "sequence":
        return {"steps": float(len(values)), **_summarise(values)}
    if values.ndim > 1:
        return {"brightness": values.mean(), "contrast": values.std(), "inked": float((values > INK_THRESHOLD).mean())}
    return _vector_features(values.reshape(-1))


def _named_features(name: str, x: Any, kind: str) -> Iterator[tuple[str, float | str]]:
    """Of one of several inputs: what is one value has its name, others have it in front."""
    found = _features_of_one(x, kind) if np.ndim(x) or isinstance(x, str) else {"value": float(x)}
    yield from ((name if key == "value" else f"{name} {key}", value) for key, value in found.items())


def count_days(text: str) -> float:
    """Days from 1 January of the year 1 to a date, as ISO 8601; NaN for anything else, as a missing one."""
    try:
        return float(date.fromisoformat(text[:10]).toordinal())
    except ValueError:
        return math.nan


def _summarise(values: Array) -> dict[str, float]:
    return {"mean": values.mean(), "spread": values.std(), "smallest": values.min(), "largest": values.max()}


def _vector_features(values: Array) -> dict[str, float | str]:
    if len(values) <= MAX_NUMBERS:
        found: dict[str, float | str] = {f"number {index}": float(value) for index, value in enumerate(values)}
    else:
        bounds = np.linspace(0, len(values), MAX_NUMBERS + 1).astype(int)
        means = np.add.reduceat(values, bounds[:-1]) / np.diff(bounds)
        found = {
            f"numbers {first} to {end - 1}": float(mean)
            for first, end, mean in zip(bounds[:-1], bounds[1:], means, strict=True)
        }
    if len(values) > 1:
        found |= _summarise(values)
    return found


def count_shares(values: Sequence[Any]) -> Shares:
    """The commonest values of a category; an empty one is missing."""
    found = Counter(value for value in values if value)
    empty = Shares(values=tuple(value for value, _ in found.most_common(MAX_SHARES)), counts=())
    return empty.model_copy(update={"counts": empty.count(values)})


def quantile_histogram(values: Array, *, missing: bool = False) -> Histogram:
    """A histogram whose bins hold about equally many values.

    A value that more than a bin's share of them have gets a bin of its own. Its lower edge alone would put it together
    with all that is larger: of a constant, nothing that rises could be seen.
    """
    finite = np.asarray(values, np.float64)[np.isfinite(values)]
    if not len(finite):
        return count_histogram((), values, missing=missing)
    inner = np.unique(np.quantile(finite, np.linspace(0, 1, BINS + 1)[1:-1]))
    margins = np.maximum(np.abs(inner) * PRECISION, SMALLEST_MARGIN)
    shares = np.array([(np.abs(finite - edge) <= margin).mean() for edge, margin in zip(inner, margins, strict=True)])
    common = shares > 1 / BINS
    edges = np.concatenate([inner[~common], (inner - margins)[common], (inner + margins)[common]])
    return count_histogram(tuple(np.unique(edges).tolist()), values, missing=missing)


def count_histogram(edges: tuple[float, ...], values: Array, *, missing: bool = False) -> Histogram:
    empty = Histogram(edges=edges, counts=(0,) * (len(edges) + 1 + missing), missing=missing)
    return empty.model_copy(update={"counts": empty.count(values)})


def read_reference(version: Path) -> Reference | None:
    """The reference in a version's folder; None for a version that has none.

    Raises:
        CorruptData: the file cannot be parsed.
    """
    return read_extra(version, FILE, Reference)
