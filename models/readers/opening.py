"""Opens a file of rows by its kind: CSV, Parquet or JSON lines."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

from modelyard.models.errors import InvalidData
from modelyard.models.readers.csv_files import read_csv
from modelyard.models.readers.json_lines import read_json_lines
from modelyard.models.readers.parquet_files import read_parquet
from modelyard.models.readers.raw_table import RawTable

READERS: Mapping[str, Callable[[Path, str, Sequence[str], bool], RawTable]] = {
    ".csv": lambda file, delimiter, _, look: read_csv(file, delimiter, look=look),
    ".parquet": lambda file, _, ignore, look: read_parquet(file, ignore, look=look),
    ".jsonl": lambda file, _, ignore, look: read_json_lines(file, ignore, look=look),
}
"""Readers by the end of a file's name: file, delimiter, columns to leave out, whether a look is enough."""


def require_reader(file: Path) -> None:
    """Raises ``InvalidData`` for a file of another kind."""
    if file.suffix.lower() not in READERS:
        raise InvalidData(f"{file}: expected a file {', '.join(READERS)}, received {file.suffix or 'no suffix'!r}")


def open_file(file: Path, titles: Iterable[str], delimiter: str, ignore: Sequence[str] = (), *, look: bool) -> RawTable:
    """The rows of a file that has columns of these titles.

    Args:
        ignore: columns to leave out.
        look: whether the first rows are enough.

    Raises:
        InvalidData: it is not there, has no rows, or lacks a column.
    """
    if not file.is_file():
        raise InvalidData(f"{file} is not there: a path is relative to the folder of the model's file")
    raw = READERS[file.suffix.lower()](file, delimiter, ignore, look)
    if not len(raw):
        raise InvalidData(f"{raw.file.name} has no rows")
    for title in titles:
        if title not in raw.columns:
            raise InvalidData(describe_missing(raw, title))
    return raw


def describe_missing(raw: RawTable, title: str) -> str:
    """That a column is not there, and which are."""
    titles = list(raw.columns)
    if len(titles) == 1 and any(mark in titles[0] for mark in ";\t|"):
        return f"{raw.file.name} has one column, {titles[0]!r}: give its delimiter, such as delimiter=';'"
    close = get_close_matches(title, titles, n=3, cutoff=0.6)
    found = f"did you mean {', '.join(map(repr, close))}?" if close else f"it has {', '.join(map(repr, titles[:20]))}"
    return f"{raw.file.name} has no column {title!r}; {found}"
