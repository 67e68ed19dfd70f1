"""Which output of a signature predicts, what kind of task that is, and how good it is on test data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelyard.models.metrics import METRICS, default_metric
from modelyard.models.types import Array, Task
from modelyard.pipeline.errors import ImportRefused
from modelyard.pipeline.evaluation.metrics import compute_metrics

CLASS_ID, PROBABILITIES = "class_id", "probabilities"
MATRIX = 2
"""Dimensions of an output with a column for each class."""
SUM_MARGIN, RANGE_MARGIN = 1e-2, 1e-3
"""How far probabilities may be off: half-precision models round."""


@dataclass(frozen=True)
class Prediction:
    """How the outputs of a signature are read."""

    task: Task
    output: str | None
    """The one that predicts; None of a custom task."""
    labels: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def metric(self) -> str | None:
        """What versions are compared by."""
        return default_metric(self.task, {}) if METRICS[self.task] else None


def read_prediction(outputs: Mapping[str, Array], rows: int, labels: tuple[str, ...], wanted: str | None) -> Prediction:
    """Finds the output that predicts, by the outputs of a few rows.

    Args:
        labels: names of the classes, if they are classes.
        wanted: the output, where several would do.

    Raises:
        ImportRefused: there is no such output, or not one alone.
    """
    if wanted is not None and wanted not in outputs:
        raise ImportRefused(f"--output: expected one of {', '.join(sorted(outputs))}, received {wanted!r}")
    given = outputs if wanted is None else {wanted: outputs[wanted]}
    numbers = {name: each for name, each in given.items() if each.dtype.kind == "f" and each.ndim and len(each) == rows}
    if labels:
        return read_classes(outputs, numbers, labels)
    columns = {name: each for name, each in numbers.items() if each.size == rows}
    if len(columns) == 1 and (wanted or len(outputs) == 1):
        return Prediction("regression", next(iter(columns)), ())
    return Prediction("custom", None, ())


def read_classes(outputs: Mapping[str, Array], numbers: Mapping[str, Array], labels: tuple[str, ...]) -> Prediction:
    fitting = {name: each for name, each in numbers.items() if count_classes(each) == len(labels)}
    if PROBABILITIES in fitting:
        fitting = {PROBABILITIES: fitting[PROBABILITIES]}
    if not fitting:
        found = ", ".join(f"{name} {list(each.shape)}" for name, each in outputs.items())
        raise ImportRefused(
            f"--labels has {len(labels)} names: expected an output of numbers with a column for each, received {found}"
        )
    if len(fitting) > 1:
        raise ImportRefused(f"--labels fits several outputs: name one with --output: {', '.join(sorted(fitting))}")
    ((name, values),) = fitting.items()
    task: Task = "binary" if len(labels) == MATRIX else "multiclass"
    return Prediction(task, name, labels, check_probabilities(name, values))


def count_classes(values: Array) -> int:
    """Columns, where one column is the second of two classes; 0 of anything else."""
    if values.ndim == 1:
        return MATRIX
    return 0 if values.ndim != MATRIX else max(MATRIX, values.shape[1])


def check_probabilities(name: str, values: Array) -> tuple[str, ...]:
    """What is to be known of an output that should hold probabilities.

    Raises:
        ImportRefused: a single column is none, so that nothing says where the second class begins.
    """
    inside = values.min(initial=0.0) >= -RANGE_MARGIN and values.max(initial=0.0) <= 1 + RANGE_MARGIN
    if values.ndim == 1 or values.shape[1] == 1:
        if not inside:
            raise ImportRefused(
                f"{name}: expected probabilities 0 to 1 of the second label, received {values.min():.4g} to "
                f"{values.max():.4g}; end the model in a sigmoid"
            )
        return ()
    if inside and np.abs(values.sum(axis=1) - 1).max(initial=0.0) <= SUM_MARGIN:
        return ()
    return (f"{name} holds no probabilities that sum to 1: scores are the model's own, and its loss is not measured",)


def expand_classes(values: Array) -> Array:
    """``[N,C]``; of one column, which is the second of two classes, both."""
    if values.ndim == 1 or values.shape[1] == 1:
        second = values.reshape(-1, 1)
        return np.concatenate([1 - second, second], axis=1)
    return values


def read_targets(y: Array, prediction: Prediction) -> Array:
    """Class ids ``int64 [N]``, or numbers ``float64 [N]``.

    Raises:
        ImportRefused: a label that there is none of, with its row; or other targets than the task has.
    """
    if prediction.output is None:
        raise ImportRefused(
            "--test: nothing says what is measured: give --labels for classes, or --output for a number per row"
        )
    if y.ndim == MATRIX and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise ImportRefused(f"--test: expected one target in each row, received {list(y.shape[1:])}")
    if not prediction.labels:
        if y.dtype.kind not in "iuf" or not np.isfinite(y).all():
            raise ImportRefused("--test: expected finite numbers as targets; give --labels if they are classes")
        return y.astype(np.float64)
    return np.array(
        [read_class(each, row, prediction.labels) for row, each in enumerate(y.tolist(), 1)], dtype=np.int64
    )


def read_class(value: Any, row: int, labels: tuple[str, ...]) -> int:
    text = value.decode() if isinstance(value, bytes) else value
    if isinstance(text, str) and text in labels:
        return labels.index(text)
    if not isinstance(text, str) and 0 <= text < len(labels) and int(text) == text:
        return int(text)
    raise ImportRefused(
        f"--test: row {row}: expected one of {', '.join(labels)}, or 0 to {len(labels) - 1}, received {text!r}"
    )


def measure(prediction: Prediction, y: Array, outputs: Array) -> dict[str, float]:
    """Metrics by name; of scores that are no probabilities, those that need none."""
    values = outputs.reshape(len(y), 1) if prediction.task == "regression" else expand_classes(outputs)
    found = compute_metrics(prediction.task, prediction.labels, y, values)
    return {name: value for name, value in found.items() if not (prediction.notes and name in ("loss", "ece"))}


def measure_simplest(prediction: Prediction, y: Array) -> float:
    """The gate's metric of the simplest answer: always the commonest class, or the mean."""
    if prediction.task == "regression":
        return 0.0  # R² of the mean
    return float(np.bincount(y).max() / len(y))
