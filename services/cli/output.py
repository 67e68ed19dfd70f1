"""Output of the command line: tables, JSON and progress bars."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from modelyard.models.registry.serving_config import LeftOutVersion

console = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)
"""No line is cut or wrapped: a terminal does that by itself, and in a pipe it would be in the way."""

FIRST_STEPS = 10
"""In which nothing can be said about when a training ends: they hold what is done once."""
MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400

MARKS = {"sample": "sample, not for real use", "generated": "generated"}


@contextmanager
def doubt_on_interrupt(command: str) -> Iterator[None]:
    """On Ctrl-C while something is submitted, says that it may have been, and which command shows it."""
    try:
        yield
    except KeyboardInterrupt:
        errors.print(f"\nit may have been submitted: `{command}` shows it", markup=False)
        raise


def print_table(*columns: str, rows: Iterable[Iterable[object]]) -> None:
    """Prints rows under bold column names, never cut to the terminal's width; a dash for None."""
    cells = [columns, *(["-" if cell is None else str(cell) for cell in row] for row in rows)]
    widths = [max(cell_len(cell) for cell in column) for column in zip(*cells, strict=True)]
    for number, row in enumerate(cells):
        line = "  ".join(set_cell_size(cell, width) for cell, width in zip(row, widths, strict=True)).rstrip()
        console.print(line, style="" if number else "bold", markup=False, soft_wrap=True)


def print_json(data: object) -> None:
    """Prints one JSON document, and nothing else on standard output."""
    sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=False, default=str) + "\n")


def report_left_out(versions: "Iterable[LeftOutVersion]") -> None:
    """Prints versions that model servers are not told to load, and why."""
    for each in versions:
        what = f"{each.model} version {each.version}" if each.version else each.model
        reason = escape(each.reason)
        errors.print(f"[yellow]warning:[/yellow] {what} is left out of models.config: {reason}", soft_wrap=True)


def format_dataset(data: Mapping[str, Any]) -> str:
    """``IMDB``, or ``scikit-learn digits (sample, not for real use)``."""
    mark = MARKS.get(data["source"])
    return f"{data['name']} ({mark})" if mark else str(data["name"])


def format_metric(name: str, value: float | None) -> str:
    """``accuracy 0.9900``; ``loss ?`` where it is no finite number, which is null in JSON."""
    return f"{name} {'?' if value is None else f'{value:.4f}'}"


def format_test(verdict: Mapping[str, Any]) -> str | None:
    """The gate's metric; None of an imported version that nothing was measured of."""
    return None if verdict["metric"] is None else format_metric(verdict["metric"], verdict["value"])


def make_progress_bars(shown: Console = console) -> Progress:
    """Bars on standard output, or elsewhere if that holds JSON."""
    return Progress(
        TextColumn("{task.fields[model]:<16}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[stage]:<9}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
        console=shown,
    )


def describe_job(job: Mapping[str, Any]) -> tuple[str, str]:
    """The state or stage of a job, and a note."""
    waits_for = job.get("waits_for")
    if waits_for or job["state"] not in ("running", "publishing") or not job["progress"]:
        reason = waits_for or job["result"].get("reason") or ""
        return job["state"], str(reason)
    return describe_progress(job["progress"])


def describe_progress(progress: Mapping[str, Any]) -> tuple[str, str]:
    """The stage, and its progress or message."""
    notes = [left] if (left := describe_time_left(progress)) else []
    if progress.get("epoch"):
        notes.append(f"epoch {progress['epoch']}/{progress['epochs']}")
    notes += [f"{name} {value:.4f}" for name, value in choose_metrics(progress.get("metrics", {}))]
    return progress["stage"], " · ".join(notes) or progress.get("message", "")


def describe_time_left(progress: Mapping[str, Any]) -> str | None:
    """``45 % · 2 h 15 min left``, as the job says; None in the first steps, and where nothing is known."""
    most = "at most " if progress.get("eta_at_most") else ""
    if progress.get("share") is not None and progress.get("eta_s") is not None:
        return f"{100 * progress['share']:.0f} % · {most}{format_duration(progress['eta_s'])} left"
    step, steps, epochs = progress.get("step"), progress.get("steps"), progress.get("epochs")
    if progress.get("eta_s") is None or not step or not steps or not epochs:
        return None
    done = ((progress.get("epoch") or 1) - 1) * steps + step
    if done <= FIRST_STEPS:
        return None
    return f"{done / (steps * epochs):.0%} · {format_duration(progress['eta_s'])} left".replace("%", " %", 1)


def format_duration(seconds: float) -> str:
    """``2 h 15 min``: the two largest units."""
    whole = max(1, round(seconds))
    for size, name, next_size, next_name in (
        (DAY_S, "d", HOUR_S, "h"),
        (HOUR_S, "h", MINUTE_S, "min"),
        (MINUTE_S, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // next_size
            return f"{whole // size} {name}" + (f" {rest} {next_name}" if rest else "")
    return f"{whole} s"


def choose_metrics(metrics: Mapping[str, float | None]) -> list[tuple[str, float]]:
    """Two metrics to show: those on the validation split where an epoch has ended, else those so far.

    One that is no finite number is null in JSON, and left out.
    """
    known = [(name, value) for name, value in metrics.items() if value is not None]
    validated = [(name, value) for name, value in known if name.startswith("val_")]
    return (validated or known)[:2]


def estimate_share(job: Mapping[str, Any]) -> float:
    """Estimated share of a job that is done, 0 to 1; training is the longest part."""
    before = {
        "data": 0.0,
        "rehearse": 0.03,
        "train": 0.05,
        "export": 0.75,
        "evaluate": 0.8,
        "gate": 0.93,
        "publish": 0.94,
        "rollout": 0.97,
    }
    if job["finished_at"]:
        return 1.0
    progress = job["progress"]
    if progress.get("share"):  # by time
        return float(progress["share"])
    share = before.get(progress.get("stage", ""), 0.0)
    if progress.get("stage") == "train" and progress.get("steps"):
        epochs_done = progress["epoch"] - 1 + progress["step"] / progress["steps"]
        share += 0.7 * epochs_done / progress["epochs"]
    elif progress.get("stage") == "evaluate" and progress.get("steps"):
        share += 0.13 * progress["step"] / progress["steps"]
    return share
