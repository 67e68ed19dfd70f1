"""A file whose age says whether a process still does its work: touched by the work itself, looked at from outside.

    python -m modelyard.services.heartbeat FILE SECONDS     # exit status 1, and why, if it is older

Being there is not enough for a process that waits for work: what hangs is there, too.
"""

import sys
import time
from pathlib import Path


def beat(path: Path | None) -> None:
    """Now; nowhere, if nobody wants to know."""
    if path is not None:
        path.touch()


def silence(path: Path, now_s: float) -> float:
    """Seconds since the last one; without end, if there was none."""
    try:
        return now_s - path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")


def main(path: str, most_s: str) -> int:
    """0 if it beat lately."""
    silent_s = silence(Path(path), time.time())
    if silent_s <= float(most_s):
        return 0
    print(f"no heartbeat in {path} for {silent_s:.0f} s")  # noqa: T201  # engines keep what a check says
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
