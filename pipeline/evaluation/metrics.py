"""Metrics of predictions against targets, by task; and those of the simplest answer, which a model has to beat."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from modelyard.models.types import Array, Task
from modelyard.pipeline.evaluation.calibration import measure_calibration_error

THRESHOLD = 0.5
"""A label is given where its probability reaches this."""
SMALLEST_PROBABILITY = 1e-7


def compute_metrics(task: Task, labels: Sequence[str], y: Array, outputs: Array) -> dict[str, float]:
    """Metrics of predictions, by name.

    Args:
        y: targets, as ``Split`` has them.
        outputs: probabilities ``[N,C]``, values ``[N,K]`` or texts ``[N]``.
    """
    if task == "regression":
        return _regression_metrics(_columns(y), outputs)
    if task == "multilabel":
        return _multilabel_metrics(y, outputs)
    if task == "text":
        return {"exact": float(np.mean(outputs.astype(str) == y.astype(str)))}
    return _class_metrics(task, y, outputs, len(labels)) if task != "custom" else {}


def compute_class_metrics(task: Task, labels: Sequence[str], y: Array, outputs: Array) -> dict[str, dict[str, float]]:
    """By label: precision, recall, F1 and support; of several numbers, the errors of each."""
    from sklearn.metrics import precision_recall_fscore_support

    if task == "regression":
        values = _columns(y)
        each = (_regression_metrics(values[:, [k]], outputs[:, [k]]) for k in range(values.shape[1]))
        return dict(zip(labels, each, strict=True)) if labels else {}
    if task not in ("multiclass", "binary", "multilabel"):
        return {}
    predicted = outputs >= THRESHOLD if task == "multilabel" else outputs.argmax(axis=1)
    found = precision_recall_fscore_support(y, predicted, labels=np.arange(len(labels)), zero_division=0, average=None)
    columns = dict(zip(("precision", "recall", "f1", "support"), found, strict=True))
    return {label: {name: float(values[k]) for name, values in columns.items()} for k, label in enumerate(labels)}


def measure_simplest(task: Task, labels: Sequence[str], y: Array, metric: str) -> float | None:
    """The metric of the best answer that ignores its input: the shares of the labels, the mean, the commonest text.

    None for a metric that such an answer says nothing about.
    """
    if task == "custom" or metric == "ece":
        return None
    constant = np.median(_columns(y), axis=0) if metric == "mae" else _simplest_answer(task, labels, y)
    outputs = np.broadcast_to(constant, (len(y), *np.shape(constant)))
    return compute_metrics(task, labels, y, np.array(outputs)).get(metric)


def _simplest_answer(task: Task, labels: Sequence[str], y: Array) -> Any:
    if task in ("multiclass", "binary"):
        return np.bincount(y, minlength=len(labels)) / len(y)
    if task == "text":
        values, counts = np.unique(y.astype(str), return_counts=True)
        return values[counts.argmax()]
    return _columns(y).mean(axis=0)


def _columns(y: Array) -> Array:
    """Several numbers as they are, one as a column."""
    return y[:, None] if y.ndim == 1 else y


def _class_metrics(task: Task, y: Array, outputs: Array, classes: int) -> dict[str, float]:
    from sklearn.metrics import roc_auc_score

    chosen = outputs[np.arange(len(y)), y]
    found = {
        "accuracy": float((outputs.argmax(axis=1) == y).mean()),
        "loss": float(-np.log(np.clip(chosen, SMALLEST_PROBABILITY, 1)).mean()),
        "ece": measure_calibration_error(outputs, y),
    }
    if task == "binary" and len(np.unique(y)) == classes:
        found["roc_auc"] = float(roc_auc_score(y, outputs[:, 1]))
    return found


def _multilabel_metrics(y: Array, outputs: Array) -> dict[str, float]:
    from sklearn.metrics import f1_score, roc_auc_score

    truth, given = y > THRESHOLD, outputs >= THRESHOLD
    likely = np.clip(np.where(truth, outputs, 1 - outputs), SMALLEST_PROBABILITY, 1)
    found = {
        "f1": float(f1_score(truth, given, average="macro", zero_division=0)),
        "exact": float((truth == given).all(axis=1).mean()),
        "loss": float(-np.log(likely).mean()),
    }
    both = truth.any(axis=0) & ~truth.all(axis=0)
    if both.any():
        found["roc_auc"] = float(roc_auc_score(truth[:, both], outputs[:, both], average="macro"))
    return found


def _regression_metrics(y: Array, values: Array) -> dict[str, float]:
    from sklearn import metrics

    found: Mapping[str, Any] = {
        "r2": metrics.r2_score(y, values) if len(y) > 1 else float("nan"),
        "mae": metrics.mean_absolute_error(y, values),
        "rmse": metrics.root_mean_squared_error(y, values),
    }
    return {name: float(value) for name, value in found.items()}
