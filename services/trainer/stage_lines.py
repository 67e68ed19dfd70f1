"""Lines about a job's stages in its log, among what its processes write: by them the log can be read by stage."""

import sys
import time
from datetime import UTC, datetime
from typing import TextIO

from modelyard.pipeline.progress import Progress

EPOCH_LINE_S = 1.0
"""Between two lines about epochs, at least: the log keeps its newest 256 KB."""


class StageLines:
    """Writes a line for each new stage or message, and for ends of epochs."""

    def __init__(self, out: TextIO | None = None) -> None:
        """``out``: standard error unless given, which is the job's log."""
        self._out = out
        self._stage, self._message = "", ""
        self._epoch_at = float("-inf")

    def write(self, progress: Progress) -> None:
        if progress.epoch is not None:
            self._write_epoch(progress)
        elif (progress.stage, progress.message) != (self._stage, self._message):
            self.write_line(progress.stage, progress.message or "begins")
        self._stage, self._message = progress.stage, progress.message

    def write_error(self, reason: str) -> None:
        """What ended the job, in its last stage."""
        self.write_line(self._stage or "data", f"failed: {reason}")

    def write_line(self, stage: str, text: str) -> None:
        at = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        print(f"{at} {stage}: {' '.join(text.split())}", file=self._out or sys.stderr, flush=True)

    def _write_epoch(self, progress: Progress) -> None:
        ended, now = progress.step == progress.steps, time.monotonic()
        last = progress.epoch == progress.epochs
        if progress.stage == "train" and ended and (last or now - self._epoch_at >= EPOCH_LINE_S):
            self._epoch_at = now
            values = [f"{name} {value:.4g}" for name, value in progress.metrics.items()]
            self.write_line("train", ", ".join([f"epoch {progress.epoch} of {progress.epochs}", *values]))
