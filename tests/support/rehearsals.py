"""Rehearsals that went well, shared by all jobs of a test run: what passed once is not rehearsed again."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path, PosixPath

from modelyard.pipeline.job import JobLocations

SHARED = Path(tempfile.gettempdir()) / f"modelyard-rehearsed-{os.environ.get('PYTEST_XDIST_TESTRUNUID', os.getpid())}"


def share_rehearsals(work: Path) -> Path:
    """Makes the marks of a work folder those of all; returns the folder."""
    SHARED.mkdir(exist_ok=True)
    work.mkdir(parents=True, exist_ok=True)
    if not (work / "rehearsed").exists():
        (work / "rehearsed").symlink_to(SHARED)
    return work


class EveryMark(PosixPath):
    """A folder in which every mark is found."""

    def __truediv__(self, _: object) -> Path:
        return Path(self)


@dataclass(frozen=True)
class SoundModels(JobLocations):
    """Locations of jobs whose models are known to be sound: they are trained without a rehearsal.

    ``tests/keras/models/test_examples.py`` rehearses models of the same kinds.
    """

    @property
    def rehearsed(self) -> Path:
        return EveryMark(self.store)
