"""Curves of a job, from its events: loss and metrics by epoch, and within the epoch as far as it reported them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from modelyard.services.gateway.http.json_body import Body
from modelyard.services.ledger import Event

VALIDATION = "val_"
MONITOR = "val_loss"
"""What early stopping, and the choice of the weights, look at."""
KINDS = ("progress", "point")
"""Of events."""

Values = list[float | None]


class MetricCurve(Body):
    """One metric, a value for each epoch; null where there is none."""

    training: Values
    validation: Values


class WithinEpochs(Body):
    """Training metrics as they were within epochs: each is Keras's mean over the epoch so far."""

    epochs: list[float]
    """Passed epochs, with the part of the present one."""
    seconds: list[float]
    metrics: dict[str, Values]


class BestEpoch(Body):
    """The epoch with the lowest validation loss."""

    epoch: int
    value: float
    since: int
    """Epochs that were trained after it."""


class JobCurves(Body):
    """What a job has reported of its training. All lists by epoch are as long as ``epochs``."""

    job: str
    epochs: list[int]
    planned: int | None
    """Epochs of the recipe; a ``patience`` may end it earlier."""
    seconds: list[float]
    """At the end of each epoch, since the job first reported."""
    learning_rate: Values
    metrics: dict[str, MetricCurve]
    within: WithinEpochs
    best: BestEpoch | None
    next: int
    """The last event in here: with it as ``Last-Event-ID``, the stream of events goes on behind."""


@dataclass(frozen=True)
class _Report:
    """One report of training. ``position`` is in epochs: 1.5 in the middle of the second."""

    position: float
    at: datetime
    values: Mapping[str, float]
    learning_rate: float | None
    ended: bool


@dataclass
class _History:
    """Reports of the attempt that counts: one that trains epochs again takes the place of what was behind."""

    reports: list[_Report] = field(default_factory=list)

    def add(self, report: _Report) -> None:
        while self.reports and self.reports[-1].position >= report.position:
            self.reports.pop()
        self.reports.append(report)


def read_curves(job: str, events: Sequence[Event]) -> JobCurves:
    """The curves in a job's events, in order."""
    history, planned = _History(), None
    for event in events:
        planned = event.body.get("epochs", planned)
        for report in _read_report(event):
            history.add(report)
    began = next((event.at for event in events if event.kind in KINDS), None)
    ended = [report for report in history.reports if report.ended]
    within = [report for report in history.reports if not report.ended]
    return JobCurves(
        job=job,
        epochs=[round(report.position) for report in ended],
        planned=planned,
        seconds=_list_seconds(ended, began),
        learning_rate=[report.learning_rate for report in ended],
        metrics=_list_metrics(ended),
        within=WithinEpochs(
            epochs=[round(report.position, 4) for report in within],
            seconds=_list_seconds(within, began),
            metrics={name: _column(within, name) for name in _list_names(within)},
        ),
        best=_find_best(ended),
        next=events[-1].id if events else 0,
    )


def _read_report(event: Event) -> Iterator[_Report]:
    body = event.body
    if event.kind not in KINDS or body.get("stage") != "train" or not body.get("epoch"):
        return
    step, steps = body.get("step"), body.get("steps")
    passed = body["epoch"] - 1 + (step / steps if step and steps else 1)
    yield _Report(passed, event.at, body.get("metrics", {}), body.get("learning_rate"), ended=step == steps)


def _list_metrics(ended: Sequence[_Report]) -> dict[str, MetricCurve]:
    names = dict.fromkeys(name.removeprefix(VALIDATION) for name in _list_names(ended))
    return {
        name: MetricCurve(training=_column(ended, name), validation=_column(ended, VALIDATION + name))
        for name in sorted(names, key=lambda name: (name != "loss", name))
    }


def _list_names(reports: Sequence[_Report]) -> list[str]:
    return sorted({name for report in reports for name in report.values})


def _column(reports: Sequence[_Report], name: str) -> Values:
    return [_finite(report.values.get(name)) for report in reports]


def _finite(value: Any) -> float | None:
    """JSON has no NaN: a loss that is none is a gap."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _list_seconds(reports: Sequence[_Report], began: datetime | None) -> list[float]:
    return [round((report.at - began).total_seconds(), 3) if began else 0.0 for report in reports]


def _find_best(ended: Sequence[_Report]) -> BestEpoch | None:
    losses = [(report, value) for report in ended if (value := _finite(report.values.get(MONITOR))) is not None]
    if not losses:
        return None
    report, value = min(losses, key=lambda pair: pair[1])
    return BestEpoch(epoch=round(report.position), value=value, since=round(ended[-1].position - report.position))
