"""Fixed shares of a core for processes, as a pod's limit is one: by Linux' control groups, 1 or 2; needs root."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
PERIOD_US = 10_000
"""A tenth of the kernel's own: a process that has used its share waits for milliseconds."""
_JOIN = 'echo $$ > "$0/cgroup.procs" && exec "$@"'


class NoShares(Exception):
    """This machine lets us limit nothing; the text has why."""


class CoreShares:
    """Groups of one process each, without a limit until one is set."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders

    def wrap(self, number: int, command: Sequence[str]) -> list[str]:
        """The command of a process that starts in the group of this number."""
        return ["/bin/sh", "-c", _JOIN, str(self._folders[number]), *command]

    def limit(self, cores: float | None) -> None:
        """So many cores for each group; None: as many as there are."""
        quota = None if cores is None else int(cores * PERIOD_US)
        for folder in self._folders:
            if (folder / "cpu.max").exists():
                (folder / "cpu.max").write_text(f"{'max' if quota is None else quota} {PERIOD_US}")
            else:
                (folder / "cpu.cfs_quota_us").write_text(str(-1 if quota is None else quota))


@contextmanager
def core_shares(count: int) -> Iterator[CoreShares]:
    """For the block, at whose end the processes have ended.

    Raises:
        NoShares: not permitted, or there is no such controller.
    """
    controller = ROOT / "cpu"
    parent = controller if controller.is_dir() else ROOT
    folders = [parent / f"modelyard-{os.getpid()}-{number}" for number in range(count)]
    try:
        for folder in folders:
            folder.mkdir()
            if (folder / "cpu.cfs_period_us").exists():
                (folder / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            elif not (folder / "cpu.max").exists():
                raise NoShares(f"{folder.parent} has no controller of processor time")
        yield CoreShares(folders)
    except OSError as error:
        raise NoShares(f"control groups cannot be used: {error}") from error
    finally:
        for folder in folders:
            with suppress(OSError):
                folder.rmdir()
