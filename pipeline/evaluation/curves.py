"""ROC and precision-recall curves of each class against all others, with few points.

Davis and Goadrich 2006 (doi:10.1145/1143844.1143874): of a rare class, the second shows what the first hides.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from modelyard.models.types import Array, Task
from modelyard.pipeline.evaluation.metrics import THRESHOLD
from modelyard.pipeline.results import ClassCurves, Curve

MAX_POINTS = 100
MAX_CLASSES = 20
"""Of more classes, those with the smallest F1 have curves."""
DIGITS = 5


def compute_curves(
    task: Task, labels: Sequence[str], y: Array, outputs: Array, per_class: Mapping[str, Mapping[str, float]]
) -> dict[str, ClassCurves]:
    """By label; of two classes, of the second alone. Classes that all or no examples have are left out."""
    if task not in ("multiclass", "binary", "multilabel") or not np.isfinite(outputs).all():
        return {}
    return {
        labels[k]: found for k in choose_classes(task, labels, per_class) if (found := _compute(task, y, outputs, k))
    }


def choose_classes(task: Task, labels: Sequence[str], per_class: Mapping[str, Mapping[str, float]]) -> Iterator[int]:
    """In the order of the labels."""
    if task == "binary":
        yield 1
        return
    weakest = sorted(range(len(labels)), key=lambda k: per_class[labels[k]]["f1"])
    yield from sorted(weakest[:MAX_CLASSES])


def _compute(task: Task, y: Array, outputs: Array, k: int) -> ClassCurves | None:
    from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_curve

    truth, scores = (y[:, k] > THRESHOLD if task == "multilabel" else y == k), outputs[:, k]
    if truth.all() or not truth.any():
        return None
    false_positives, true_positives, thresholds = roc_curve(truth, scores)
    precision, recall, cuts = precision_recall_curve(truth, scores, drop_intermediate=True)
    return ClassCurves(
        positives=int(truth.sum()),
        roc=thin_out(false_positives, true_positives, thresholds, float(auc(false_positives, true_positives))),
        precision_recall=thin_out(
            recall, precision, np.append(cuts, np.inf), float(average_precision_score(truth, scores))
        ),
    )


def thin_out(x: Array, y: Array, thresholds: Array, area: float) -> Curve:
    """A curve by points that are about equally far apart along it; the first and last stay."""
    length = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    wanted = np.linspace(0, length[-1], MAX_POINTS)
    chosen = np.unique(np.append(np.searchsorted(length, wanted[:-1]), len(x) - 1)) if len(x) > MAX_POINTS else ...
    return Curve(
        x=tuple(_round(x[chosen])),
        y=tuple(_round(y[chosen])),
        thresholds=tuple(value if np.isfinite(value) else None for value in _round(thresholds[chosen])),
        area=round(area, DIGITS),
    )


def _round(values: Array) -> list[float]:
    numbers: list[float] = np.round(values.astype(np.float64), DIGITS).tolist()
    return numbers
