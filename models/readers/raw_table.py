"""The cells of a file as they were read, before anything is known of what they mean."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from modelyard.models.errors import InvalidData
from modelyard.models.inputs import MISSING_MARKS

LOOK_ROWS = 1_000
"""Rows at the beginning of a file that kinds of columns and the task are guessed from."""
MISSING = MISSING_MARKS
"""Texts, in any case, that stand for a missing number or date. A missing category or text is an empty one."""


@dataclass(frozen=True)
class RawTable:
    """Columns of equal length by title: texts, numbers, or lists of numbers; null where a cell is empty."""

    file: Path
    columns: Mapping[str, Any]
    """``pyarrow.Array`` of ``string``, ``float64`` or ``list<double>``."""
    locate: Callable[[int], str]
    """Index of a row -> where people find it: ``line 7``."""

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.columns else 0

    def head(self, rows: int = LOOK_ROWS) -> "RawTable":
        """The first rows."""
        return RawTable(self.file, {title: cells[:rows] for title, cells in self.columns.items()}, self.locate)

    def refuse(self, index: int, title: str, problem: str) -> InvalidData:
        """The error of one cell."""
        return InvalidData(f"{self.file.name}, {self.locate(index)}, column {title!r}: {problem}")


def check_titles(file: Path, titles: list[str]) -> None:
    """Checks that no two columns have one title.

    Raises:
        InvalidData: two have.
    """
    twice = sorted({title for title in titles if title and titles.count(title) > 1})
    if twice:
        places = [number for number, title in enumerate(titles, 1) if title == twice[0]]
        raise InvalidData(f"{file.name}: columns {places[0]} and {places[1]} have one name, {twice[0]!r}; rename one")


def make_empty(rows: int) -> Any:
    """A column that is not looked at."""
    return pa.nulls(rows, pa.string())


def merge_chunks(cells: Any) -> Any:
    """One array of a column that was read in parts."""
    return cells.combine_chunks() if isinstance(cells, pa.ChunkedArray) else cells
