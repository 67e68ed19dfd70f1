"""The metrics that evaluation measures, by task, and whether more or less of each is better."""

from collections.abc import Mapping

from modelyard.models.errors import InvalidSpec
from modelyard.models.types import Direction, Task

METRICS: Mapping[Task, Mapping[str, Direction]] = {
    "multiclass": {"accuracy": "higher", "loss": "lower", "ece": "lower"},
    "binary": {"accuracy": "higher", "loss": "lower", "ece": "lower", "roc_auc": "higher"},
    "multilabel": {"f1": "higher", "exact": "higher", "loss": "lower", "roc_auc": "higher"},
    "regression": {"r2": "higher", "mae": "lower", "rmse": "lower"},
    "text": {"exact": "higher"},
    "custom": {},
}
"""The first of a task is what versions are compared by, unless the spec's gate names another."""


def list_metrics(task: Task, own: Mapping[str, Direction]) -> dict[str, Direction]:
    """All metrics of a model: those of its task, and its own."""
    return {**METRICS[task], **own}


def default_metric(task: Task, own: Mapping[str, Direction]) -> str:
    """The metric that versions are compared by: the first of its own, else the first of the task.

    Raises:
        InvalidSpec: there is none.
    """
    for name in (*own, *METRICS[task]):
        return name
    raise InvalidSpec(f"a {task} task has no metrics; give evaluate and metrics")
