"""Measures a dataset for its data card: columns of the training part, rows of each class."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from modelyard.models.data import Split, name_arrays
from modelyard.models.inputs import OneInput, name_inputs
from modelyard.models.registry.cards.data_card import ColumnCard
from modelyard.models.spec import ModelSpec
from modelyard.models.types import Array

FREQUENT = 20
"""Categories that a card names."""
DIGITS = 6


def describe_columns(spec: ModelSpec, train: Split) -> dict[str, ColumnCard]:
    """The inputs of the training part, by name."""
    kinds = name_inputs(spec.input)
    arrays = name_arrays(spec.input, train.x)
    return {name: describe_column(kind, arrays[name]) for name, kind in kinds.items()}


def describe_column(kind: OneInput, values: Array) -> ColumnCard:
    """One input."""
    if values.dtype != object:
        return describe_numbers(kind.kind, values)
    missing = float(np.mean(values == "")) if len(values) else 0.0
    if kind.kind == "text":
        lengths = np.fromiter(map(len, values), np.int64, len(values))
        return describe_numbers("text", lengths).model_copy(update={"missing": _round(missing)})
    counts = Counter(values.tolist())
    counts.pop("", None)
    named = dict(sorted(counts.most_common(FREQUENT), key=lambda pair: (-pair[1], pair[0])))
    frequent = named if kind.kind == "category" else {}
    return ColumnCard(kind=kind.kind, missing=_round(missing), different=len(counts), frequent=frequent)


def describe_numbers(kind: str, values: Array) -> ColumnCard:
    """Range and mean of all numbers of one input or target."""
    if values.dtype.kind == "f":
        missing = float(np.mean(np.isnan(values)))
        values = values[~np.isnan(values)] if missing else values
    else:
        missing = 0.0
    if not values.size:
        return ColumnCard(kind=kind, missing=_round(missing))
    return ColumnCard(
        kind=kind,
        missing=_round(missing),
        minimum=_round(values.min()),
        maximum=_round(values.max()),
        mean=_round(values.mean(dtype=np.float64)),
    )


def describe_targets(spec: ModelSpec, train: Split) -> dict[str, ColumnCard]:
    """The numbers to predict, by name; empty for other tasks."""
    if spec.task != "regression":
        return {}
    values = train.y.reshape(len(train), -1)
    names = spec.labels or tuple(
        f"value {index}" if values.shape[1] > 1 else "value" for index in range(values.shape[1])
    )
    return {name: describe_numbers("number", values[:, index]) for index, name in enumerate(names)}


def count_classes(spec: ModelSpec, parts: Mapping[str, Split]) -> dict[str, dict[str, int]]:
    """Rows by label and part; empty for tasks without classes."""
    if spec.task not in ("binary", "multiclass", "multilabel"):
        return {}
    counts = {name: _count(spec, part.y) for name, part in parts.items()}
    return {label: {name: int(found[k]) for name, found in counts.items()} for k, label in enumerate(spec.labels)}


def _count(spec: ModelSpec, y: Array) -> Any:
    if spec.task == "multilabel":
        return y.sum(axis=0)
    return np.bincount(y.reshape(-1).astype(np.int64), minlength=len(spec.labels))


def _round(value: Any) -> float:
    return float(f"{float(value):.{DIGITS}g}")
