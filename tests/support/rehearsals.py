"""Rehearsals that went well, shared by all jobs of a test run: what passed once is not rehearsed again."""

import os
import tempfile
from pathlib import Path

SHARED = Path(tempfile.gettempdir()) / f"modelyard-rehearsed-{os.environ.get('PYTEST_XDIST_TESTRUNUID', os.getpid())}"


def share_rehearsals(work: Path) -> Path:
    """Makes the marks of a work folder those of all; returns the folder."""
    SHARED.mkdir(exist_ok=True)
    work.mkdir(parents=True, exist_ok=True)
    if not (work / "rehearsed").exists():
        (work / "rehearsed").symlink_to(SHARED)
    return work
