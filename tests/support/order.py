"""In which order and in which of pytest's processes tests run.

Pytest keeps the order of its arguments only where none of them holds another.
"""

from collections.abc import Sequence
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling


def longest_first(items: list[pytest.Item], names: Sequence[str]) -> None:
    """Those of files or folders of these names come first, in this order; the others stay in theirs."""

    def place(item: pytest.Item) -> int:
        found = [names.index(name) for name in (item.path.stem, item.path.parent.name) if name in names]
        return min(found, default=len(names))

    items.sort(key=place)


class FolderScheduling(LoadFileScheduling):
    """``--dist loadfile``, and the tests of one folder stay in one process, too."""

    def __init__(self, config: pytest.Config, log: Any, folder: str) -> None:
        """``folder`` is the beginning of its tests' ids."""
        super().__init__(config, log)
        self.folder = folder

    def _split_scope(self, nodeid: str) -> str:  # where xdist has its users say what stays together
        return self.folder if nodeid.startswith(self.folder) else super()._split_scope(nodeid)


def keep_together(config: pytest.Config, log: Any, folder: str) -> FolderScheduling | None:
    """What ``pytest_xdist_make_scheduler`` returns where the tests of a folder share something dear."""
    return FolderScheduling(config, log, folder) if config.getoption("dist") == "loadfile" else None
