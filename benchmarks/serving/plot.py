"""The curves: right answers per second and p99 against connections, per workload and contender."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.serving.goals import ONE_PROCESS, OURS, Results

WORKLOADS = ("mnist_json", "sentiment")
OWN = {OURS: ("#d62728", 3.0), ONE_PROCESS: ("#ff9896", 2.0)}
"""Colours and widths of our own lines."""
COLOURS = ("#4e79a7", "#f28e2b", "#76b7b2", "#59a14f", "#edc948", "#b07aa1", "#ff9da7", "#9c755f", "#7f7f7f", "#000000")


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Writes the plot; without matplotlib (group ``bench``) it says so and leaves the old one."""
    try:
        from matplotlib import pyplot as plt
    except ModuleNotFoundError:
        print("no plot: matplotlib is not installed (uv sync --all-extras --group bench)")
        return
    plt.switch_backend("svg")
    plt.rcParams["svg.hashsalt"] = "modelyard"  # the same rows give the same file
    figure, axes = plt.subplots(2, len(WORKLOADS), figsize=(11, 7.5), sharex=True, squeeze=False)
    for column, workload in enumerate(WORKLOADS):
        curves(axes[0][column], rows, workload, "rps")
        curves(axes[1][column], rows, workload, "p99_ms")
        axes[0][column].set_title(workload)
        axes[1][column].set_xlabel("connections")
        axes[1][column].set_yscale("log")
    axes[0][0].set_ylabel("right answers per second")
    axes[1][0].set_ylabel("p99, ms")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=4, frameon=False)
    figure.tight_layout(rect=(0, 0.1, 1, 1))
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def curves(axis: Any, rows: Sequence[Mapping[str, Any]], workload: str, key: str) -> None:
    colours = iter(COLOURS)
    for name in Results(rows).names():
        points = sorted(
            (row["connections"], row[key])
            for row in rows
            if row["row"] == "load" and (row["contender"], row["workload"], row["rate"]) == (name, workload, None)
            if row[key] is not None
        )
        colour, width = OWN[name] if name in OWN else (next(colours), 1.2)
        if points:
            axis.plot(*zip(*points, strict=True), "o-", label=name, color=colour, linewidth=width)
    axis.set_xscale("log", base=2)
    axis.set_xticks(sorted({row["connections"] for row in rows if row["row"] == "load" and row["rate"] is None}))
    axis.get_xaxis().set_major_formatter("{x:.0f}")
    axis.grid(alpha=0.3)
