"""What inputs and answers looked like when a version was measured: drift is held against it.

Slim. Features are numbers of one input that need no model: of an image its brightness, contrast and inked share, of a
text its characters and words, of a vector each of its numbers.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from modelyard.models.errors import CorruptData
from modelyard.models.registry.manifest import Frozen
from modelyard.models.registry.store import first_line
from modelyard.models.types import Array, Task

FILE = "assets.extra/reference.json"
BINS = 10
MOST_NUMBERS = 16
"""Of a vector, so many are looked at."""
INK = 128


class Histogram(Frozen):
    """How often values fell between two edges; the outer bins have no end."""

    edges: tuple[float, ...]
    """Inner ones, ascending: one fewer than bins."""
    counts: tuple[int, ...]

    def count(self, values: Array) -> tuple[int, ...]:
        """Other values in the same bins."""
        bins = np.searchsorted(np.array(self.edges), values, side="right")
        return tuple(np.bincount(bins, minlength=len(self.counts)).tolist())


class Reference(Frozen):
    """``reference.json``: histograms by name, ``input ...`` and ``answer ...``."""

    histograms: dict[str, Histogram] = Field(default_factory=dict)


def describe(task: Task, labels: Sequence[str], inputs: Iterable[Any], outputs: Mapping[str, Array]) -> Reference:
    """Of inputs as a dataset has them, and the named outputs that a version gave.

    Args:
        inputs: ``str``, or arrays of one shape.
        outputs: ``class_id [N]`` and ``score [N]``, or ``value [N]``.
    """
    rows = [features(x) for x in inputs]
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]} if rows else {}
    found = {f"input {name}": by_quantile(values) for name, values in columns.items()}
    if task == "regression":
        found["answer value"] = by_quantile(outputs["value"])
    else:
        edges = tuple(float(k) for k in np.arange(1, len(labels)) - 0.5)
        found["answer class"] = counted(edges, outputs["class_id"])
        found["answer score"] = by_quantile(outputs["score"])
    return Reference(histograms=found)


def features(x: Any) -> dict[str, float]:
    """Numbers of one input."""
    if isinstance(x, str):
        return {"characters": float(len(x)), "words": float(len(x.split()))}
    values = np.asarray(x, np.float64)
    if values.ndim > 1:
        return {"brightness": values.mean(), "contrast": values.std(), "inked": float((values > INK).mean())}
    return {f"number {index}": float(value) for index, value in enumerate(values[:MOST_NUMBERS])}


def by_quantile(values: Array) -> Histogram:
    """Bins that hold about equally many."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1]))
    return counted(tuple(edges.tolist()), values)


def counted(edges: tuple[float, ...], values: Array) -> Histogram:
    empty = Histogram(edges=edges, counts=(0,) * (len(edges) + 1))
    return Histogram(edges=edges, counts=empty.count(values))


def read(version: Path) -> Reference | None:
    """Of a version's folder; None of one that was made before there were any.

    Raises:
        CorruptData: the file cannot be understood.
    """
    try:
        return Reference.model_validate_json((version / FILE).read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise CorruptData(f"{FILE} of {version.name} is damaged: {first_line(error)}") from error
