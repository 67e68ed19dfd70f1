"""Comparisons as CSV, for spreadsheets and notebooks."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from modelyard.services.gateway.api.job_history.comparison import JobComparison
from modelyard.services.gateway.api.job_history.curves import JobCurves

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet would compute, if a text began with it."""


def write_table(comparison: JobComparison) -> str:
    """One line for each job: what differs, and best and last of each metric."""
    metrics = comparison.metrics
    heads = [f"{row.split}_{row.name}_{part}" for row in metrics for part in ("best", "last")]
    differences = [*comparison.recipe, *comparison.data]
    names = ["job", "model", "state", "version", *(difference.key for difference in differences), *heads]
    return write_csv([names, *(_make_line(comparison, place) for place in range(len(comparison.jobs)))])


def _make_line(comparison: JobComparison, place: int) -> Iterator[Any]:
    job = comparison.jobs[place]
    yield from (job.id, job.model, job.state, job.version)
    yield from (difference.values[place] for difference in (*comparison.recipe, *comparison.data))
    for row in comparison.metrics:
        value = row.values[place]
        yield from (value.best, value.last) if value else (None, None)


def write_curves(curves: Sequence[JobCurves]) -> str:
    """One line for each value of each epoch."""
    return write_csv([["job", "epoch", "seconds", "split", "metric", "value"], *_list_points(curves)])


def _list_points(curves: Sequence[JobCurves]) -> Iterator[list[Any]]:
    for each in curves:
        columns = [("training", "learning_rate", each.learning_rate)]
        for name, curve in each.metrics.items():
            columns += [("training", name, curve.training), ("validation", name, curve.validation)]
        for split, name, values in columns:
            for epoch, seconds, value in zip(each.epochs, each.seconds, values, strict=True):
                if value is not None:
                    yield [each.job, epoch, seconds, split, name, value]


def write_csv(lines: Iterable[Iterable[Any]]) -> str:
    """No cell is a formula."""
    out = io.StringIO()
    csv.writer(out).writerows([_make_safe(cell) for cell in line] for line in lines)
    return out.getvalue()


def _make_safe(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell
