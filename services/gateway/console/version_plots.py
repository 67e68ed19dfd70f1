"""Plots of an evaluation as points in a square of 100 by 100, for SVG: the page needs no script to draw them."""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from modelyard.services.gateway.console.templates import format_number, format_percent

COLOURS = 8
SIDE = 100.0
MAX_ROWS = 25
"""Points in a plot's table."""
MAX_CURVE_ROWS = 200
"""Of all curves together."""
LEAST_ROWS = 5
STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
INTERVALS = 4
"""Of an axis, at most two more."""


@dataclass(frozen=True)
class Axis:
    """Its ticks are evenly apart, from one end to the other."""

    title: str
    low: float = 0.0
    high: float = 1.0
    ticks: Sequence[str] = ("0", "0.25", "0.5", "0.75", "1")

    def place(self, value: float) -> float:
        return round(SIDE * (value - self.low) / (self.high - self.low), 2)


@dataclass(frozen=True)
class Line:
    """A curve; ``colour`` is the number of a token ``--run-N``."""

    label: str
    points: str
    colour: int
    note: str = ""


@dataclass(frozen=True)
class Plot:
    """One plot with its axes, and the same numbers as a table."""

    name: str
    title: str
    help: str
    x: Axis
    y: Axis
    diagonal: bool = False
    lines: Sequence[Line] = ()
    bars: Sequence[tuple[float, float, float, float, str]] = ()
    """x, y, width, height, text."""
    dots: Sequence[tuple[float, float, float, str]] = ()
    """x, y, radius, text."""
    head: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = field(default_factory=list)


def describe_plots(record: Mapping[str, Any], evaluation: Mapping[str, Any]) -> list[Plot]:
    """Those that fit the task."""
    found = []
    if evaluation["calibration"] and "ece" in evaluation["metrics"]:
        found.append(plot_reliability(evaluation))
    if evaluation["curves"]:
        found += [plot_curves(evaluation, "roc"), plot_curves(evaluation, "precision_recall")]
    for name, residuals in list(evaluation["residuals"].items())[:COLOURS]:
        title = "" if name == "value" and not record["labels"] else f" of {name}"
        found += [plot_residuals(title, residuals), plot_truth(title, residuals)]
    return found


def plot_reliability(evaluation: Mapping[str, Any]) -> Plot:
    """Accuracy over confidence; the bars are how many answers there are of each confidence."""
    bins, most = evaluation["calibration"], max(one["examples"] for one in evaluation["calibration"])
    points = [place(one["confidence"], one["accuracy"]) for one in bins]
    share = [one["examples"] / evaluation["examples"] for one in bins]
    texts = [
        f"{one['examples']:,} answers: confidence {one['confidence']:.3f}, accuracy {one['accuracy']:.3f}"
        for one in bins
    ]
    width = SIDE / len(bins) / 2
    return Plot(
        "reliability",
        "Reliability",
        "On the diagonal, the version is right as often as it says. Above it, it is too modest; below, too sure. Mean "
        f"gap (expected calibration error): {format_number(evaluation['metrics']['ece'])}. Bars: share of the answers.",
        Axis("Confidence"),
        Axis("Accuracy"),
        diagonal=True,
        lines=[Line("Accuracy", join(points), 1)],
        bars=[
            (
                min(x - width / 2, SIDE - width),
                SIDE - SIDE * one["examples"] / most / 4,
                width,
                SIDE * one["examples"] / most / 4,
                text,
            )
            for (x, _), one, text in zip(points, bins, texts, strict=True)
        ],
        dots=[(x, y, 1.6, text) for (x, y), text in zip(points, texts, strict=True)],
        head=("Confidence", "Accuracy", "Answers", "Share"),
        rows=[
            (f"{one['confidence']:.3f}", f"{one['accuracy']:.3f}", f"{one['examples']:,}", format_percent(part))
            for one, part in zip(bins, share, strict=True)
        ],
    )


def plot_curves(evaluation: Mapping[str, Any], kind: str) -> Plot:
    """Curves of each class against all others."""
    roc, curves = kind == "roc", evaluation["curves"]
    area, x, y = ("AUC", "False positive rate", "True positive rate") if roc else ("AP", "Recall", "Precision")
    rows = max(LEAST_ROWS, min(MAX_ROWS, MAX_CURVE_ROWS // len(curves)))
    whose = "" if len(curves) > 1 else f" of {next(iter(curves))}"
    return Plot(
        kind,
        ("ROC" if roc else "Precision and recall") + whose,
        (
            "Each class against all others: examples of it that are found, over others taken for it."
            if roc
            else "Each class against all others: how many of those found are right, over how many are found. Of a rare "
            "class it shows what ROC hides."
        ),
        Axis(x),
        Axis(y),
        diagonal=roc,
        lines=[
            Line(
                label,
                join(map(place, one[kind]["x"], one[kind]["y"])),
                index % COLOURS + 1,
                f"{area} {one[kind]['area']:.4f}",
            )
            for index, (label, one) in enumerate(curves.items())
        ],
        head=("Class", "Threshold", x, y),
        rows=[row for label, one in curves.items() for row in list_points(label, one[kind], rows)],
    )


def list_points(label: str, curve: Mapping[str, Any], rows: int) -> Iterator[tuple[str, ...]]:
    """Some points of a curve, evenly apart."""
    last = len(curve["x"]) - 1
    for k in sorted({round(row * last / (rows - 1)) for row in range(rows)}):
        threshold = curve["thresholds"][k]
        yield label, format_number(threshold), f"{curve['x'][k]:.4f}", f"{curve['y'][k]:.4f}"


def plot_residuals(title: str, residuals: Mapping[str, Any]) -> Plot:
    """A histogram of the errors."""
    edges, counts = residuals["edges"], residuals["counts"]
    x, y = make_axis("Predicted less true", edges[0], edges[-1]), make_axis("Examples", 0, max(*counts, 1))
    beyond = residuals["below"] + residuals["above"]
    texts = [f"{format_number(low)} to {format_number(high)}" for low, high in itertools.pairwise(edges)]
    width = x.place(edges[1]) - x.place(edges[0])
    return Plot(
        "residuals",
        f"Errors{title}",
        f"Predicted less true. Mean: {format_number(residuals['bias'])}."
        + (f" {beyond:,} of the farthest lie beyond the axis." if beyond else ""),
        x,
        y,
        bars=[
            (x.place(edge), SIDE - y.place(count), round(width * 0.92, 2), y.place(count), f"{text}: {count:,}")
            for edge, count, text in zip(edges, counts, texts, strict=False)
        ],
        head=("Error", "Examples"),
        rows=[(text, f"{count:,}") for text, count in zip(texts, counts, strict=True)],
    )


def plot_truth(title: str, residuals: Mapping[str, Any]) -> Plot:
    """Predicted values over true ones, on equal axes."""
    points = residuals["points"]
    low, high = min(map(min, points)), max(map(max, points))
    x, y = make_axis("True", low, high), make_axis("Predicted", low, high)
    texts = [f"true {format_number(true)}, predicted {format_number(predicted)}" for true, predicted in points]
    return Plot(
        "truth",
        f"Predicted and true{title}",
        f"{len(points):,} examples. On the diagonal, both are equal.",
        x,
        y,
        diagonal=True,
        dots=[
            (x.place(true), SIDE - y.place(predicted), 0.9, text)
            for (true, predicted), text in zip(points, texts, strict=True)
        ],
        head=("True", "Predicted"),
        rows=[(format_number(true), format_number(predicted)) for true, predicted in points[:MAX_ROWS]],
    )


def make_axis(title: str, low: float, high: float) -> Axis:
    """One whose ticks are round numbers, from below the lowest value to above the highest."""
    size = (high - low) or abs(high) or 1.0
    power = 10 ** math.floor(math.log10(size / INTERVALS))
    step = next(power * each for each in STEPS if power * each * INTERVALS >= size)
    first, last = math.floor(low / step), math.ceil(high / step)
    last = max(last, first + 1)
    return Axis(title, first * step, last * step, [f"{k * step:.6g}" for k in range(first, last + 1)])


def place(x: float, y: float) -> tuple[float, float]:
    """Of shares, with y downwards."""
    return round(SIDE * x, 2), round(SIDE - SIDE * y, 2)


def join(points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x},{y}" for x, y in points)
