"""``texts``: a CSV, Parquet or JSON lines file with a column of texts and one to predict is a dataset."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modelyard.models.data import Dataset, Schema, Split, Splits
from modelyard.models.errors import InvalidData
from modelyard.models.inputs import TextInput
from modelyard.models.readers.cells import to_numpy, to_texts
from modelyard.models.readers.opening import open_file, require_reader
from modelyard.models.readers.raw_table import RawTable
from modelyard.models.readers.splits import (
    DEFAULT_SHARES,
    TEST,
    TRAIN,
    VALIDATION,
    Shares,
    check_rows,
    check_shares,
    split_rows,
)
from modelyard.models.readers.targets import guess_task, read_targets
from modelyard.models.types import Array, Task


def texts(
    path: str | Path,
    text: str = "text",
    label: str = "label",
    *,
    task: Task | None = None,
    id: str | None = None,  # noqa: A002  # what it is called everywhere
    time: str | None = None,
    split: Shares = DEFAULT_SHARES,
    delimiter: str = ",",
    max_chars: int = 20_000,
) -> Dataset:
    """Texts with a class each, or a number, as a dataset; other columns are not looked at.

    Args:
        path: ``.csv`` (UTF-8, with a header), ``.parquet`` or ``.jsonl``; relative to the model's file.
        text: the column of texts.
        label: the column to predict.
        task: what is predicted; left out, texts and few whole numbers are classes, other numbers are numbers.
        id: a column whose value decides a row's part, in place of its text: all rows of one author, for instance.
        time: a column of dates, times or numbers: the newest rows are the test part.
        split: shares of training, validation and test.
        delimiter: what is between the cells of a CSV.
        max_chars: longest text that the served model takes.

    Raises:
        InvalidData: arguments that do not fit together, or a file of another kind.
    """
    file = Path(path)
    require_reader(file)
    if id is not None and time is not None:
        raise InvalidData("texts: give id or time, not both: rows are split by one of them")
    if text == label:
        raise InvalidData(f"texts: text and label are the same column, {text!r}")
    check_shares(split)
    reader = TextReader(file, text, label, task, id, time, split, delimiter, TextInput(max_chars=max_chars))
    return Dataset(name=file.name, homepage="", read=reader.read, inspect=reader.inspect, own=True)


@dataclass(frozen=True)
class TextReader:
    """Reads one file, as ``texts`` describes it."""

    file: Path
    text: str
    label: str
    task: Task | None
    id: str | None
    time: str | None
    split: Shares
    delimiter: str
    kind: TextInput

    def inspect(self, folder: Path) -> Schema:
        """The task, from the first rows.

        Raises:
            InvalidData: the file is not there, or lacks a column.
        """
        head = self._open(folder, look=True)
        return Schema(self.kind, self.task or guess_task(head, (self.label,)))

    def read(self, folder: Path) -> Splits:
        """All rows in their parts, ``object [N]`` of ``str``.

        Raises:
            InvalidData: a row that cannot be used, or too few rows.
        """
        raw = self._open(folder, look=False)
        check_rows(raw.file, len(raw))
        task = self.task or guess_task(raw.head(), (self.label,))
        targets = read_targets(raw, (self.label,), task, sure=self.task is not None)
        cells = to_texts(raw, self.text)
        parts, x = split_rows(raw, {self.text: cells}, self.split, id=self.id, time=self.time), to_numpy(cells)
        blank = np.array([not text.strip() for text in x])
        if blank.all():
            raise InvalidData(f"{raw.file.name}: the column {self.text!r} is empty in every row")

        def take(part: int) -> Split:
            chosen = (parts == part) & ~blank
            if not chosen.any():
                raise InvalidData(f"{raw.file.name}: {len(raw)} rows are too few: one of three parts has none")
            return Split(x[chosen], targets.values[chosen])

        schema = Schema(self.kind, targets.task, targets.labels)
        return Splits(
            take(TRAIN), take(VALIDATION), take(TEST), schema=schema, notes=tuple(describe_blank(raw, self.text, blank))
        )

    def _open(self, folder: Path, *, look: bool) -> RawTable:
        titles = filter(None, (self.text, self.label, self.id, self.time))
        return open_file(folder / self.file, titles, self.delimiter, look=look)


def describe_blank(raw: RawTable, title: str, blank: Array) -> Iterator[str]:
    """Which rows were left out because their text is empty."""
    if blank.any():
        first = raw.locate(int(np.flatnonzero(blank)[0]))
        yield f"{int(blank.sum())} rows left out, whose {title!r} is empty, the first in {first}"
