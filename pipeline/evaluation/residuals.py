"""How far predicted numbers are from the true ones."""

from collections.abc import Iterator, Sequence

import numpy as np

from modelyard.models.types import Array, Task
from modelyard.pipeline.results import Residuals

BINS = 30
TAIL = 0.5
"""Per cent of the errors that may lie beyond the bins at either end: one far off would make all others one bin."""
MAX_POINTS = 300
MAX_NUMBERS = 20
"""Of more numbers at once, the first."""
DIGITS = 6


def list_residuals(task: Task, labels: Sequence[str], y: Array, outputs: Array) -> Iterator[tuple[str, Residuals]]:
    """By name of the number; nothing for other tasks."""
    if task != "regression":
        return
    truth = y.reshape(len(y), -1)
    for k in range(min(truth.shape[1], MAX_NUMBERS)):
        finite = np.isfinite(outputs[:, k])
        if finite.any():
            yield labels[k] if labels else "value", describe_residuals(truth[finite, k], outputs[finite, k])


def describe_residuals(truth: Array, values: Array) -> Residuals:
    """Of finite numbers, ``[N]`` each."""
    errors = values.astype(np.float64) - truth
    low, high = np.percentile(errors, [TAIL, 100 - TAIL])
    counts, edges = np.histogram(errors, bins=BINS, range=(low, high) if low < high else None)
    chosen = np.unique(np.linspace(0, len(truth) - 1, MAX_POINTS).astype(int))
    return Residuals(
        edges=tuple(map(_round, edges)),
        counts=tuple(counts.tolist()),
        below=int((errors < edges[0]).sum()),
        above=int((errors > edges[-1]).sum()),
        bias=_round(errors.mean()),
        points=tuple((_round(truth[k]), _round(values[k])) for k in chosen),
    )


def _round(value: float) -> float:
    return float(f"{float(value):.{DIGITS}g}")
