"""The target of a table: which task it is, its classes, and its values."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modelyard.models.errors import InvalidData
from modelyard.models.readers.cells import blank_missing, encode_dictionary, to_categories, to_numbers, to_texts
from modelyard.models.readers.kinds import is_numeric
from modelyard.models.readers.raw_table import RawTable
from modelyard.models.types import Array, Task

FEW_CLASSES = 20
"""Different whole numbers up to which a target is taken for classes, if each comes ``REPEATS`` times in the mean."""
REPEATS = 3
MAX_CLASSES = 1_000
CLASSES: tuple[Task, ...] = ("binary", "multiclass")


@dataclass(frozen=True)
class Targets:
    """Targets of all rows: class ids ``int32 [N]``, numbers ``float32 [N]`` or ``[N,K]``, or texts ``object [N]``."""

    task: Task
    values: Array
    labels: tuple[str, ...]


def guess_task(head: RawTable, titles: Sequence[str]) -> Task:
    """Classes, numbers or several of them, from the first rows.

    Raises:
        InvalidData: a target that is none of them.
    """
    if len(titles) > 1:
        numbers = [to_numbers(head, title).drop_null().to_numpy() for title in titles]
        return "multilabel" if all(np.isin(values, (0, 1)).all() for values in numbers) else "regression"
    (title,) = titles
    values = pc.drop_null(blank_missing(to_texts(head, title)))
    if is_numeric(values.to_pylist()) and not is_few(to_numbers(head, title).drop_null().to_numpy()):
        return "regression"
    different = len(values.unique())
    if len(values) > FEW_CLASSES and different > len(values) / 2:
        raise InvalidData(
            f"{head.file.name}: the target {title!r} has {different} different values in the first {len(values)} rows: "
            "expected numbers, or classes that repeat; name another column, or give task"
        )
    return "binary" if different <= len(("no", "yes")) else "multiclass"


def is_few(values: Array) -> bool:
    """Whether numbers are few whole ones, which are taken for classes."""
    different = len(np.unique(values))
    whole = bool((values == np.rint(values)).all())
    return whole and different <= FEW_CLASSES and different * REPEATS <= len(values)


def read_targets(table: RawTable, titles: Sequence[str], task: Task, *, sure: bool) -> Targets:
    """The targets of all rows.

    Args:
        task: as guessed, or given (``sure``); of guessed classes, the rows decide whether they are two.

    Raises:
        InvalidData: a target is missing, no finite number, or of the wrong classes, with its row.
    """
    if task in ("regression", "multilabel"):
        values = np.stack([_read_numbers(table, title) for title in titles], axis=1)
        if task == "multilabel":
            _check_flags(table, titles, values)
        return Targets(task, values, tuple(titles)) if len(titles) > 1 else Targets(task, values[:, 0], ())
    if len(titles) > 1:
        raise InvalidData(f"{table.file.name}: a {task} task has one target, received {', '.join(titles)}")
    cells = to_texts(table, titles[0]) if task == "text" else to_categories(table, titles[0])
    _check_complete(table, titles[0], cells)
    if task == "text":
        codes, texts = encode_dictionary(cells)
        return Targets(task, texts[codes], ())
    return _read_classes(table, titles[0], cells, task, sure=sure)


def _read_numbers(table: RawTable, title: str) -> Array:
    cells = to_numbers(table, title)
    _check_complete(table, title, cells)
    numbers: Array = cells.to_numpy(zero_copy_only=False).astype(np.float32)
    return numbers


def _check_complete(table: RawTable, title: str, cells: Any) -> None:
    missing = np.flatnonzero(cells.is_null().to_numpy(zero_copy_only=False))
    if missing.size:
        more = f", and so it is in {missing.size - 1} more rows" if missing.size > 1 else ""
        raise table.refuse(
            int(missing[0]), title, f"the target is missing{more}; fill it, or remove rows without a target"
        )


def _check_flags(table: RawTable, titles: Sequence[str], values: Array) -> None:
    wrong = np.argwhere(~np.isin(values, (0, 1)))
    if len(wrong):
        row, column = (int(index) for index in wrong[0])
        raise table.refuse(
            row, titles[column], f"expected 0 or 1, as of several labels, received {values[row, column]}"
        )


def _read_classes(table: RawTable, title: str, cells: Any, task: Task, *, sure: bool) -> Targets:
    codes, values = encode_dictionary(cells)
    names, codes = _merge_numbers(codes, [str(value) for value in values])
    labels = sort_labels(names)
    if len(labels) > MAX_CLASSES:
        raise InvalidData(
            f"{table.file.name}: the target {title!r} has {len(labels)} different values, more than {MAX_CLASSES} "
            'classes; give task="regression" if it is a number'
        )
    two = len(labels) == len(("no", "yes"))
    if sure and task == "binary" and not two:
        raise InvalidData(
            f"{table.file.name}: a binary task has two classes, the target {title!r} has {len(labels)}: "
            f"{', '.join(labels[:10])}"
        )
    if len(labels) < len(("no", "yes")):
        raise InvalidData(f"{table.file.name}: the target {title!r} is {labels[0]!r} in every row: nothing to learn")
    ranks = {label: rank for rank, label in enumerate(labels)}
    ids = np.array([ranks[name] for name in names], np.int32)[codes]
    return Targets(task if sure else "binary" if two else "multiclass", ids, labels)


def _merge_numbers(codes: Array, values: list[str]) -> tuple[list[str], Array]:
    """Names without repetition, and codes of them; ``1`` and ``1.0`` are one class if all are numbers."""
    if not is_numeric(values):
        return values, codes
    numbers = pc.cast(pa.array(values), pa.float64()).to_pylist()
    names = [str(int(number)) if number.is_integer() else repr(number) for number in numbers]
    different = list(dict.fromkeys(names))
    return different, np.array([different.index(name) for name in names])[codes]


def sort_labels(names: Sequence[str]) -> tuple[str, ...]:
    """Names in order: of the numbers if all are some, else of the alphabet."""
    return tuple(sorted(names, key=float) if is_numeric(list(names)) else sorted(names))
