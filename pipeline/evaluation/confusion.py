"""Which answers are taken for which others: as a matrix of few classes, as the commonest pairs of many."""

from collections.abc import Iterator, Sequence

import numpy as np

from modelyard.models.types import Array, Task
from modelyard.pipeline.evaluation.metrics import THRESHOLD
from modelyard.pipeline.results import ConfusedPair

MAX_CLASSES = 100
"""With more, there is no matrix: a thousand classes would have a million cells, most of them empty."""
MAX_PAIRS = 2000


def compute_confusion(task: Task, labels: Sequence[str], y: Array, outputs: Array) -> list[list[int]]:
    """Rows are true labels, columns predicted ones; empty unless one of several classes is right, and of too many."""
    from sklearn.metrics import confusion_matrix

    if task not in ("multiclass", "binary") or len(labels) > MAX_CLASSES:
        return []
    counts: list[list[int]] = confusion_matrix(y, outputs.argmax(axis=1), labels=np.arange(len(labels))).tolist()
    return counts


def list_confused(task: Task, labels: Sequence[str], y: Array, outputs: Array) -> Iterator[ConfusedPair]:
    """The commonest kinds of wrong answers, the commonest first; none of a task without labels."""
    if task == "multilabel":
        yield from _list_missed_and_added(labels, y > THRESHOLD, outputs >= THRESHOLD)
    elif task in ("multiclass", "binary"):
        given = outputs.argmax(axis=1)
        wrong = given != y
        cells, counts = np.unique(y[wrong].astype(np.int64) * len(labels) + given[wrong], return_counts=True)
        for index in np.argsort(-counts, kind="stable")[:MAX_PAIRS]:
            expected, received = divmod(int(cells[index]), len(labels))
            yield ConfusedPair(expected=labels[expected], received=labels[received], count=int(counts[index]))


def _list_missed_and_added(labels: Sequence[str], truth: Array, given: Array) -> Iterator[ConfusedPair]:
    missed, added = (truth & ~given).sum(axis=0), (~truth & given).sum(axis=0)
    counts = np.concatenate([missed, added])
    for index in np.argsort(-counts, kind="stable")[:MAX_PAIRS]:
        if count := int(counts[index]):
            label = labels[index % len(labels)]
            is_missed = index < len(labels)
            yield ConfusedPair(
                expected=label if is_missed else None, received=None if is_missed else label, count=count
            )


def find_wrong(task: Task, y: Array, outputs: Array) -> Array | None:
    """Whether each answer is wrong, bool ``[N]``; None for numbers, which are more or less off, and custom tasks."""
    found: Array | None = None
    if task in ("multiclass", "binary"):
        found = outputs.argmax(axis=1) != y
    elif task == "multilabel":
        found = ((outputs >= THRESHOLD) != (y > THRESHOLD)).any(axis=1)
    elif task == "text":
        found = outputs.astype(str) != y.astype(str)
    return found
