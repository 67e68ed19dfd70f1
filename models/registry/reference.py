"""Histograms of inputs and answers of a version's evaluation: the reference that drift is measured against.

Slim. Features are numbers of one input that need no model: of an image its brightness, contrast and inked share, of a
text its characters and words, of a vector each of its numbers, or the means of equal parts where they are too many, and
their mean, spread, smallest and largest.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from modelyard.models.errors import CorruptData
from modelyard.models.registry.manifest import FrozenModel
from modelyard.models.registry.store import first_line
from modelyard.models.types import Array

FILE = "assets.extra/reference.json"
BINS = 10
MAX_NUMBERS = 256
"""Numbers of a vector that have a histogram each; a longer vector has as many parts."""
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

    def count(self, values: Array) -> tuple[int, ...]:
        """Counts of other values in the same bins."""
        bins = np.searchsorted(np.array(self.edges), values, side="right")
        return tuple(np.bincount(bins, minlength=len(self.counts)).tolist())


class Reference(FrozenModel):
    """``reference.json``: histograms by name, ``input ...`` and ``answer ...``."""

    histograms: dict[str, Histogram] = Field(default_factory=dict)


def build_reference(labels: Sequence[str], inputs: Iterable[Any], outputs: Mapping[str, Array]) -> Reference:
    """Histograms of a dataset's inputs and of a version's outputs.

    Args:
        inputs: ``str``, arrays of one shape, or several of them by name.
        outputs: ``class_id [N]``, ``score [N]``, ``value [N]``, as far as there are some.
    """
    rows = [extract_features(x) for x in inputs]
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]} if rows else {}
    found = {f"input {name}": quantile_histogram(values) for name, values in columns.items()}
    if "class_id" in outputs:
        edges = tuple(float(k) for k in np.arange(1, len(labels)) - 0.5)
        found["answer class"] = count_histogram(edges, outputs["class_id"])
    for name in ("score", "value"):
        if name in outputs:
            found[f"answer {name}"] = quantile_histogram(outputs[name])
    return Reference(histograms=found)


def extract_features(x: Any) -> dict[str, float]:
    """Named numbers of one example's input, or inputs."""
    if isinstance(x, Mapping):
        return {name: value for key, one in x.items() for name, value in _named_features(key, one)}
    if isinstance(x, str):
        return {"characters": float(len(x)), "words": float(len(x.split()))}
    values = np.asarray(x, np.float64)
    if values.ndim > 1:
        return {"brightness": values.mean(), "contrast": values.std(), "inked": float((values > INK_THRESHOLD).mean())}
    return _vector_features(values.reshape(-1))


def _named_features(name: str, x: Any) -> Iterator[tuple[str, float]]:
    """Numbers of one of several inputs: a number has its name, others have it in front."""
    if np.ndim(x) or isinstance(x, str):
        yield from ((f"{name} {key}", value) for key, value in extract_features(x).items())
    else:
        yield name, float(x)


def _vector_features(values: Array) -> dict[str, float]:
    if len(values) <= MAX_NUMBERS:
        found = {f"number {index}": float(value) for index, value in enumerate(values)}
    else:
        bounds = np.linspace(0, len(values), MAX_NUMBERS + 1).astype(int)
        means = np.add.reduceat(values, bounds[:-1]) / np.diff(bounds)
        found = {
            f"numbers {first} to {end - 1}": float(mean)
            for first, end, mean in zip(bounds[:-1], bounds[1:], means, strict=True)
        }
    if len(values) > 1:
        found |= {"mean": values.mean(), "spread": values.std(), "smallest": values.min(), "largest": values.max()}
    return found


def quantile_histogram(values: Array) -> Histogram:
    """A histogram whose bins hold about equally many values.

    A value that more than a bin's share of them have gets a bin of its own. Its lower edge alone would put it together
    with all that is larger: of a constant, nothing that rises could be seen.
    """
    finite = np.asarray(values, np.float64)[np.isfinite(values)]
    if not len(finite):
        return count_histogram((), values)
    inner = np.unique(np.quantile(finite, np.linspace(0, 1, BINS + 1)[1:-1]))
    margins = np.maximum(np.abs(inner) * PRECISION, SMALLEST_MARGIN)
    shares = np.array([(np.abs(finite - edge) <= margin).mean() for edge, margin in zip(inner, margins, strict=True)])
    common = shares > 1 / BINS
    edges = np.concatenate([inner[~common], (inner - margins)[common], (inner + margins)[common]])
    return count_histogram(tuple(np.unique(edges).tolist()), values)


def count_histogram(edges: tuple[float, ...], values: Array) -> Histogram:
    empty = Histogram(edges=edges, counts=(0,) * (len(edges) + 1))
    return Histogram(edges=edges, counts=empty.count(values))


def read_reference(version: Path) -> Reference | None:
    """The reference in a version's folder; None for a version that has none.

    Raises:
        CorruptData: the file cannot be parsed.
    """
    try:
        return Reference.model_validate_json((version / FILE).read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise CorruptData(f"{FILE} of {version.name} is damaged: {first_line(error)}") from error
