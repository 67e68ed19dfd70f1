"""TensorBoard event files of a job: loss, metrics and learning rate by epoch, and metrics on the test split.

Written by TensorBoard's own package, which needs no TensorFlow, so that a training on JAX has them too. They are not
needed: where they cannot be written a sentence says so, and the job goes on.
"""

import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from modelyard.pipeline.progress import Progress, Report

VALIDATION = "val_"
RUNS = 100
"""Jobs of a model whose files are kept, if nothing else is said."""
MISSING = "no event files for TensorBoard: the package `tensorboard` is not installed"


@contextmanager
def record_events(folder: Path | None, report: Report) -> Iterator[Report]:
    """A report that also writes event files, below ``<folder>/{train,validation,test}``; without a folder, ``report``.

    An attempt that goes on from a checkpoint adds files to those of the attempt before.
    """
    if folder is None:
        yield report
        return
    if find_spec("tensorboard") is None:
        report(Progress("data", MISSING))
        yield report
        return
    with ExitStack() as files:
        writer = _EventWriter(folder, files)

        def report_and_write(progress: Progress) -> None:
            if failure := writer.write(progress):
                report(Progress(progress.stage, failure))
            report(progress)

        yield report_and_write


class _EventWriter:
    """The event files of one attempt, each opened with its first values."""

    def __init__(self, folder: Path, files: ExitStack) -> None:
        self._folder, self._files = folder, files
        self._open: dict[str, Any] = {}
        self._epoch = 0
        self._failed = False

    def write(self, progress: Progress) -> str:
        """Writes what the progress has for people to look at. Returns why it could not, the first time."""
        if self._failed:
            return ""
        try:
            for part, values in group_values(progress).items():
                self._epoch = progress.epoch or self._epoch
                self._add(part, self._epoch, values)
        except OSError as error:
            self._failed = True
            return f"no event files for TensorBoard: {error.strerror}"
        return ""

    def _add(self, part: str, step: int, values: Mapping[str, float]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        if part not in self._open:
            self._open[part] = self._files.enter_context(open_event_file(self._folder / part))
        summary = Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])
        self._open[part].write(Event(wall_time=time.time(), step=step, summary=summary).SerializeToString())
        self._open[part].flush()


def group_values(progress: Progress) -> dict[str, dict[str, float]]:
    """Values by part: ``train`` and ``validation`` share tags, so that their curves share a chart."""
    if progress.stage == "gate":
        found = {f"evaluation_{name}": value for name, value in progress.metrics.items()}
        return {"test": found} if found else {}
    if progress.stage != "train" or not progress.epoch or progress.step != progress.steps:
        return {}
    parts: dict[str, dict[str, float]] = {}
    for name, value in progress.metrics.items():
        part = "validation" if name.startswith(VALIDATION) else "train"
        parts.setdefault(part, {})[f"epoch_{name.removeprefix(VALIDATION)}"] = value
    if progress.learning_rate is not None:
        parts.setdefault("train", {})["epoch_learning_rate"] = progress.learning_rate
    return parts


@contextmanager
def open_event_file(folder: Path) -> Iterator[Any]:
    """A new event file, whose name is as TensorBoard looks for it."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.record_writer import RecordWriter

    folder.mkdir(parents=True, exist_ok=True)
    name = f"events.out.tfevents.{time.time_ns() // 10**9:010d}.{socket.gethostname()}.{time.time_ns()}"
    with (folder / name).open("xb") as file:
        writer = RecordWriter(file)
        writer.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
        yield writer


def prune_runs(root: Path, model: str, keep: int) -> int:
    """Deletes the event files of all but a model's newest jobs; returns of how many."""
    runs = sorted((each for each in (root / model).glob("*") if each.is_dir()), key=lambda each: each.stat().st_mtime)
    old = runs[: max(0, len(runs) - keep)]
    for each in old:
        shutil.rmtree(each, ignore_errors=True)
    return len(old)
