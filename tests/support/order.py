"""In which order a kind of tests runs: pytest keeps that of its arguments only where none of them holds another."""

from collections.abc import Sequence

import pytest


def longest_first(items: list[pytest.Item], names: Sequence[str]) -> None:
    """Those of files or folders of these names come first, in this order; the others stay in theirs."""

    def place(item: pytest.Item) -> int:
        found = [names.index(name) for name in (item.path.stem, item.path.parent.name) if name in names]
        return min(found, default=len(names))

    items.sort(key=place)
