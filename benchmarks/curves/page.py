"""The page of ``benchmarks.curves``: tables, a plot, and where each curve bends."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving.machine import machine
from benchmarks.serving.plot import WORKLOADS

GATEWAY_CONNECTIONS = 64
TITLES = {
    "rows": "rows in one request, one connection",
    "connections": "connections, one row each",
    "gateways": f"gateways before one model server, {GATEWAY_CONNECTIONS} connections in all",
}
KNEE = 0.9


@dataclass(frozen=True)
class Point:
    """One point of one curve."""

    workload: str
    curve: str
    """A key of ``TITLES``."""
    x: int
    rows_per_s: float
    """Right ones."""
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    """Processor time of gateways and model server per right row."""


def knee(points: Sequence[Point]) -> Point:
    """The first point with nine tenths of the highest throughput."""
    highest = max(point.rows_per_s for point in points)
    return next(point for point in points if point.rows_per_s >= KNEE * highest)


def section(points: Sequence[Point], seconds: float) -> str:
    """Tables with their knees."""
    found = [f"{conditions()}; {seconds:g} s a point. Knees are bold.\n", "![Curves and their knees](curves.svg)\n"]
    for (workload, curve), group in grouped(points):
        bend = knee(group)
        found.append(f"**`{workload}`, {TITLES[curve]}**: knee at {bend.x}, {bend.rows_per_s:,.0f} rows/s.\n")
        found.append(f"| {curve} | rows/s | p50 ms | p99 ms | CPU-ms per row |\n|---|---|---|---|---|")
        found += [cells(point, bold=point is bend) for point in group]
        found.append("")
    return "\n".join(found)


def cells(point: Point, *, bold: bool) -> str:
    x = f"**{point.x}**" if bold else str(point.x)
    return f"| {x} | {point.rows_per_s:,.0f} | {point.p50_ms:.1f} | {point.p99_ms:.1f} | {point.cpu_ms:.2f} |"


def conditions() -> str:
    here = machine()
    return f"Measured on {here['cores']} cores of {here['processor']}, commit {here['commit']}"


def grouped(points: Sequence[Point]) -> Iterator[tuple[tuple[str, str], list[Point]]]:
    for key, group in itertools.groupby(points, lambda point: (point.workload, point.curve)):
        yield key, list(group)


def draw(points: Sequence[Point], path: Path) -> None:
    """Throughput (left axis) and processor time (right) of each curve, the knee as a large mark."""
    from matplotlib import pyplot as plt

    plt.switch_backend("svg")
    plt.rcParams["svg.hashsalt"] = "modelyard"  # the same points give the same file
    figure, axes = plt.subplots(len(WORKLOADS), len(TITLES), figsize=(12, 6.5), squeeze=False)
    for number, ((workload, curve), group) in enumerate(grouped(points)):
        axis, bend = axes.flat[number], knee(group)
        places = [point.x for point in group]
        axis.plot(places, [point.rows_per_s for point in group], "o-", color="#d62728", label="rows/s")
        axis.plot([bend.x], [bend.rows_per_s], "D", color="#d62728", markersize=10, label=f"knee: {bend.x}")
        cost = axis.twinx()
        cost.plot(places, [point.cpu_ms for point in group], "s--", color="#4e79a7")
        cost.set_ylim(bottom=0)
        axis.set_ylim(bottom=0)
        axis.set_xscale("log", base=2)
        axis.set_xticks(places)
        axis.get_xaxis().set_major_formatter("{x:.0f}")
        axis.set_title(f"{workload}: {curve}", fontsize=10)
        axis.legend(frameon=False, fontsize=8)
        cost.set_ylabel("CPU-ms per row (dashed)", fontsize=8, color="#4e79a7")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
