"""``table``: a CSV, Parquet or JSON lines file with one column to predict is a dataset."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.models.data import Dataset, Schema, Split, Splits
from modelyard.models.errors import InvalidData
from modelyard.models.inputs import (
    CategoryInput,
    DateInput,
    ImageInput,
    NumberInput,
    OneInput,
    SequenceInput,
    TextInput,
    VectorInput,
)
from modelyard.models.readers.cells import normalise, to_numpy
from modelyard.models.readers.kinds import guess_kind
from modelyard.models.readers.names import name_columns
from modelyard.models.readers.opening import describe_missing, open_file, require_reader
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

SHOWN_VALUES = 100
"""Values of a category that are shown to people."""


def table(
    path: str | Path,
    target: str | Sequence[str],
    *,
    columns: Mapping[str, OneInput] | None = None,
    task: Task | None = None,
    id: str | None = None,  # noqa: A002  # what it is called everywhere
    time: str | None = None,
    ignore: Sequence[str] = (),
    split: Shares = DEFAULT_SHARES,
    delimiter: str = ",",
) -> Dataset:
    """A table as a dataset: every column but the target is an input with a name and a type.

    Args:
        path: ``.csv`` (UTF-8, with a header), ``.parquet`` or ``.jsonl``; relative to the model's file.
        target: the column to predict; several of numbers, or of 0 and 1 for several labels at once.
        columns: kinds of columns that would be guessed wrongly: ``{"zip": CategoryInput()}``. The guess looks at the
            first 1,000 rows.
        task: what is predicted; left out, texts and few whole numbers are classes, other numbers are numbers.
        id: a column whose value decides a row's part, in place of its content. It is no input.
        time: a column of dates, times or numbers: the newest rows are the test part. It is no input.
        ignore: columns that are no inputs.
        split: shares of training, validation and test.
        delimiter: what is between the cells of a CSV.

    Raises:
        InvalidData: arguments that do not fit together, or a file of another kind.
    """
    file = Path(path)
    require_reader(file)
    if id is not None and time is not None:
        raise InvalidData("table: give id or time, not both: rows are split by one of them")
    check_shares(split)
    targets = (target,) if isinstance(target, str) else tuple(target)
    reader = TableReader(file, targets, dict(columns or {}), task, id, time, tuple(ignore), split, delimiter)
    return Dataset(name=file.name, homepage="", read=reader.read, inspect=reader.inspect, own=True)


@dataclass(frozen=True)
class Column:
    """An input: where it comes from, and what it is."""

    title: str
    kind: OneInput


@dataclass(frozen=True)
class TableReader:
    """Reads one table, as ``table`` describes it."""

    file: Path
    targets: tuple[str, ...]
    columns: Mapping[str, OneInput]
    task: Task | None
    id: str | None
    time: str | None
    ignore: tuple[str, ...]
    split: Shares
    delimiter: str

    def inspect(self, folder: Path) -> Schema:
        """Inputs and task, from the first rows.

        Raises:
            InvalidData: the file is not there, or is not what ``table`` says of it.
        """
        head = self._open(folder, look=True)
        inputs = {name: column.kind for name, column in self._list_inputs(head).items()}
        labels = self.targets if len(self.targets) > 1 else ()
        return Schema(inputs, self.task or guess_task(head, self.targets), labels)

    def read(self, folder: Path) -> Splits:
        """All rows in their parts.

        Raises:
            InvalidData: a row or a column that cannot be used, or too few rows.
        """
        raw = self._open(folder, look=False)
        check_rows(raw.file, len(raw))
        head = raw.head()
        inputs = self._list_inputs(head)
        targets = read_targets(
            raw, self.targets, self.task or guess_task(head, self.targets), sure=self.task is not None
        )
        cells = {name: normalise(raw, column.title, column.kind) for name, column in inputs.items()}
        parts = split_rows(
            raw, {inputs[name].title: values for name, values in cells.items()}, self.split, id=self.id, time=self.time
        )
        x = {name: to_numpy(values) for name, values in cells.items()}
        kinds = {name: describe(inputs[name], values, x[name][parts == TRAIN]) for name, values in cells.items()}

        def take(part: int) -> Split:
            chosen = parts == part
            return Split({name: values[chosen] for name, values in x.items()}, targets.values[chosen])

        schema = Schema(kinds, targets.task, targets.labels)
        return Splits(take(TRAIN), take(VALIDATION), take(TEST), schema=schema)

    def _open(self, folder: Path, *, look: bool) -> RawTable:
        titles = (*self.targets, *self.ignore, *filter(None, (self.id, self.time)))
        return open_file(folder / self.file, titles, self.delimiter, self.ignore, look=look)

    def _list_inputs(self, head: RawTable) -> dict[str, Column]:
        """Inputs by name, in the order of the file."""
        left_out = {*self.targets, *self.ignore, *filter(None, (self.id, self.time))} - set(self.columns)
        left_out |= set(self.targets)
        names = name_columns(head.file, [title for title in head.columns if title not in left_out])
        for given in self.columns:
            if given not in names and given not in names.values():
                raise InvalidData(describe_missing(head, given))
        if not names:
            raise InvalidData(f"{head.file.name} has no column beside the target: nothing to predict from")
        return {name: Column(title, self._choose_kind(head, name, title)) for name, title in names.items()}

    def _choose_kind(self, head: RawTable, name: str, title: str) -> OneInput:
        kind = self.columns.get(title) or self.columns.get(name) or guess_kind(head, title)
        if isinstance(kind, VectorInput | ImageInput | SequenceInput):
            return kind
        return replace(kind, title=title if title != name else "")


def describe(column: Column, cells: Any, train: Array) -> OneInput:
    """A kind with what all the rows say of it: whether values are missing, and the values of a category."""
    kind = column.kind
    if isinstance(kind, NumberInput | CategoryInput | DateInput | TextInput):
        kind = replace(kind, missing=kind.missing or cells.null_count > 0)
    if isinstance(kind, CategoryInput) and not kind.values:
        values, counts = np.unique(train[train != ""].astype(str), return_counts=True)
        most = values[np.argsort(-counts, kind="stable")[:SHOWN_VALUES]]
        kind = replace(kind, values=tuple(sorted(str(value) for value in most)))
    return kind
