"""A heartbeat file: a process touches it as it works, and a health check reads its age.

    python -m modelyard.services.heartbeat FILE SECONDS     # exit status 1, and why, if it is older

A process that waits for work may hang while it exists; the file's age tells.
"""

import sys
import time
from pathlib import Path


def beat(path: Path | None) -> None:
    """Touches the file; nothing without one."""
    if path is not None:
        path.touch()


def measure_age_s(path: Path, now_s: float) -> float:
    """Seconds since the last heartbeat; infinite if there was none."""
    try:
        return now_s - path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")


def main(path: str, max_age_s: str) -> int:
    """Checks the age; returns 0 if it is below the limit, else 1."""
    silent_s = measure_age_s(Path(path), time.time())
    if silent_s <= float(max_age_s):
        return 0
    print(f"no heartbeat in {path} for {silent_s:.0f} s")  # noqa: T201  # engines keep what a check says
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
