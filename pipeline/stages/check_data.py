"""Checks a dataset before it is trained on, in seconds, and describes it: the data card.

What would make a version wrong is refused; what a person should know is a warning in the version's record. Rows are
named as an array has them: ``test[3]`` is the fourth row of the test part.
"""

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

import numpy as np

from modelyard.models.data import Split, Splits, name_arrays
from modelyard.models.errors import InvalidData
from modelyard.models.inputs import CategoryInput, DateInput, NumberInput, OneInput, find_title, name_inputs
from modelyard.models.registry.cards.data_card import DataCard
from modelyard.models.spec import ModelSpec
from modelyard.models.types import Array
from modelyard.pipeline.data_card import count_classes, describe_columns, describe_targets
from modelyard.pipeline.progress import Progress, Report
from modelyard.pipeline.row_keys import RowKeys

SHOWN_ROWS = 5
LEAK_SHARE = 0.1
"""Share of a part that is also in another, from which on the parts are refused, unless rows repeat anyhow."""
FEW_ROWS = 30
"""Rows of a class below which a part may be without it by chance."""
MIN_ID_ROWS = 50
"""Rows from which on a column of nothing but different values is taken for an id."""
CLASS_TASKS = ("binary", "multiclass")
Parts = Mapping[str, Split]


def check_data(spec: ModelSpec, splits: Splits, fingerprint: str = "", report: Report = lambda _: None) -> DataCard:
    """Checks inputs and targets of all parts against the spec, and describes them.

    Args:
        spec: complete, with the labels of this data.

    Raises:
        InvalidData: the data cannot be trained on; with the part, the input and the first rows.
    """
    parts: Parts = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    check_labels(spec, splits)
    for name, part in parts.items():
        check_lengths(spec, name, part)
        check_inputs(spec, name, part)
        check_targets(spec, name, part)
    classes = count_classes(spec, parts)
    warnings = [
        *check_classes(spec, classes),
        *check_overlaps(parts),
        *list_constants(spec, splits.train),
        *list_ids(spec, splits.train),
    ]
    for warning in warnings:
        report(Progress("data", message=f"warning: {warning}"))
    return DataCard(
        fingerprint=fingerprint,
        rows={name: len(part) for name, part in parts.items()},
        classes=classes,
        targets=describe_targets(spec, splits.train),
        columns=describe_columns(spec, splits.train),
        warnings=tuple(warnings),
    )


def show_rows(part: str, rows: Array) -> str:
    """``test[3], test[17] and 4 more``."""
    shown = ", ".join(f"{part}[{row}]" for row in rows[:SHOWN_ROWS])
    return shown if len(rows) <= SHOWN_ROWS else f"{shown} and {len(rows) - SHOWN_ROWS} more"


# --- what is refused ------------------------------------------------------------------------------------------------


def check_labels(spec: ModelSpec, splits: Splits) -> None:
    """The labels that the spec gives are those of the data, in its order: ids count in it."""
    found = splits.schema.labels if splits.schema else ()
    if spec.task in CLASS_TASKS and not spec.labels:
        raise InvalidData(f"{spec.name}: a {spec.task} task needs labels, and its data does not tell them")
    if not found or found == spec.labels:
        return
    if more := [label for label in found if label not in spec.labels]:
        raise InvalidData(
            f"{spec.name}: the data has {_quote(more)}, which the spec's labels {_quote(spec.labels)} lack"
        )
    if fewer := [label for label in spec.labels if label not in found]:
        raise InvalidData(f"{spec.name}: the spec's labels {_quote(fewer)} are in no row; the data has {_quote(found)}")
    raise InvalidData(f"{spec.name}: the spec's labels are {_quote(spec.labels)}, in the data's order {_quote(found)}")


def _quote(labels: Any) -> str:
    return ", ".join(map(repr, labels[:10])) + (" ..." if len(labels) > 10 else "")  # noqa: PLR2004  # enough to see


def check_lengths(spec: ModelSpec, name: str, part: Split) -> None:
    """A part has rows, and as many inputs as targets."""
    expected, given = set(name_inputs(spec.input)), part.x
    if isinstance(spec.input, Mapping) != isinstance(given, Mapping):
        raise InvalidData(f"{name}: expected {'inputs by name' if isinstance(spec.input, Mapping) else 'one array'}")
    if isinstance(given, Mapping) and set(given) != expected:
        raise InvalidData(
            f"{name}: expected the inputs {', '.join(sorted(expected))}, received {', '.join(sorted(given))}"
        )
    if not len(part):
        raise InvalidData(f"the {name} part has no rows: change the shares of the split, or get more data")
    for key, values in name_arrays(spec.input, given).items():
        if len(values) != len(part):
            raise InvalidData(f"{name}: {len(part)} targets, but {len(values)} rows of the input {key!r}")


def check_inputs(spec: ModelSpec, name: str, part: Split) -> None:
    """Types, shapes, and numbers that are finite."""
    arrays = name_arrays(spec.input, part.x)
    for key, kind in name_inputs(spec.input).items():
        check_input(f"{name}, input {find_title(key, kind)!r}", name, kind, arrays[key])


def check_input(where: str, part: str, kind: OneInput, values: Array) -> None:
    """One input of one part."""
    if kind.kind in ("text", "category", "date"):
        _check_texts(where, part, kind, values)
        return
    expected = _expected_shape(kind)
    if values.dtype.kind not in "biuf" or not _fits(values.shape[1:], expected):
        sizes = ", ".join("N" if size is None else str(size) for size in (None, *expected))
        raise InvalidData(f"{where}: expected numbers [{sizes}], received {values.dtype} {list(values.shape)}")
    if values.dtype.kind == "f":
        missing = isinstance(kind, NumberInput) and kind.missing
        wrong = np.isinf(values) if missing else ~np.isfinite(values)
        _refuse(where, part, wrong, "is not finite" if missing else "is NaN or not finite")


def _expected_shape(kind: OneInput) -> tuple[int | None, ...]:
    match kind.kind:
        case "image":
            return (kind.height, kind.width, kind.channels)
        case "vector":
            return (kind.size,)
        case "sequence":
            return (None, kind.size)
    return ()


def _fits(shape: tuple[int, ...], expected: tuple[int | None, ...]) -> bool:
    return len(shape) == len(expected) and all(
        size in (None, found) for found, size in zip(shape, expected, strict=True)
    )


def _check_texts(where: str, part: str, kind: OneInput, values: Array) -> None:
    if values.dtype != object or values.ndim != 1:
        raise InvalidData(f"{where}: expected texts, object [N], received {values.dtype} {list(values.shape)}")
    wrong = np.fromiter((not isinstance(value, str) for value in values), bool, len(values))
    _refuse(where, part, wrong, "is no text")
    if isinstance(kind, CategoryInput | DateInput) and not kind.missing:
        _refuse(where, part, values == "", "is missing; give the input missing=True if it may be")


def _refuse(where: str, part: str, wrong: Array, problem: str) -> None:
    """Refuses rows where anything is wrong."""
    if wrong.any():
        rows = np.flatnonzero(wrong.reshape(len(wrong), -1).any(axis=1))
        raise InvalidData(f"{where}: {show_rows(part, rows)} {problem}")


def check_targets(spec: ModelSpec, name: str, part: Split) -> None:
    """Class ids within the labels, flags of 0 and 1, finite numbers, or texts."""
    y, where, count = part.y, f"{name}, target", len(spec.labels)
    if spec.task in CLASS_TASKS:
        if y.dtype.kind not in "biu" or y.size != len(y):
            raise InvalidData(f"{where}: expected class ids, int [N], received {y.dtype} {list(y.shape)}")
        _refuse(where, name, (y < 0) | (y >= count), f"is no id of the {count} labels, 0 to {count - 1}")
    elif spec.task in ("multilabel", "regression"):
        width = count if spec.task == "multilabel" else max(1, count)
        if y.dtype.kind not in "biuf" or y.size != len(y) * width:
            raise InvalidData(f"{where}: expected numbers [N,{width}], received {y.dtype} {list(y.shape)}")
        _refuse(where, name, ~np.isfinite(y.astype(np.float64)), "is NaN or not finite")
        if spec.task == "multilabel":
            _refuse(where, name, (y != 0) & (y != 1), "is neither 0 nor 1")
        elif name == "train" and (np.ptp(y.reshape(len(y), -1), axis=0) == 0).any():
            raise InvalidData(f"{where}: it is {y.reshape(-1)[0]:g} in every row: there is nothing to learn")
    elif spec.task == "text":
        _check_texts(where, name, kind=NumberInput(), values=y)


# --- what is refused or a warning -----------------------------------------------------------------------------------


def check_classes(spec: ModelSpec, classes: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    """Classes that a part is without: refused in training, of two classes, or where chance does not explain it."""
    for label, counts in classes.items():
        total, lacking = sum(counts.values()), [name for name, count in counts.items() if not count]
        if not lacking:
            continue
        problem = f"the class {label!r} ({total} rows) is in no row of the {' and '.join(lacking)} part"
        remedy = "get more rows of it, leave it out, or change the shares of the split"
        if "train" in lacking or spec.task == "binary" or total >= FEW_ROWS:
            raise InvalidData(f"{problem}; {remedy}")
        yield problem


def check_overlaps(parts: Parts) -> Iterator[str]:
    """Rows that are in two parts: refused where they are many, so that a test tells what it seems to tell."""
    keys = RowKeys()
    found = {name: keys.make(part.x) for name, part in parts.items()}
    repeated = 1 - len(np.unique(found["train"])) / len(found["train"])
    for one, other in combinations(parts, 2):
        rows = np.flatnonzero(np.isin(found[other], found[one]))
        share = len(rows) / len(found[other])
        if not len(rows):
            continue
        problem = (
            f"{len(rows)} rows of the {other} part ({share:.1%}) are also in the {one} part: {show_rows(other, rows)}"
        )
        if share >= LEAK_SHARE and share > 2 * repeated:
            raise InvalidData(f"{problem}; split the data so that equal rows are in one part")
        yield problem


# --- warnings -------------------------------------------------------------------------------------------------------


def list_constants(spec: ModelSpec, train: Split) -> Iterator[str]:
    """Inputs that are the same in every training row; pixels are often black in all."""
    arrays = name_arrays(spec.input, train.x)
    for key, kind in name_inputs(spec.input).items():
        values = arrays[key]
        if kind.kind == "vector":
            same = np.flatnonzero((values == values[:1]).all(axis=0))
            if len(same):
                shown = ", ".join(f"{key}[{index}]" for index in same[:SHOWN_ROWS])
                yield f"the same in every training row, so that nothing is learned from it: {shown}" + (
                    f" and {len(same) - SHOWN_ROWS} more" if len(same) > SHOWN_ROWS else ""
                )
        elif values.ndim == 1 and _is_constant(values):
            yield f"the same in every training row, so that nothing is learned from it: {find_title(key, kind)}"


def _is_constant(values: Array) -> bool:
    first = values[0]
    return bool(np.isnan(values).all() if values.dtype.kind == "f" and np.isnan(first) else (values == first).all())


def list_ids(spec: ModelSpec, train: Split) -> Iterator[str]:
    """Named inputs that look like an id: a model learns them by heart, and they say nothing of another row."""
    if not isinstance(spec.input, Mapping) or len(train) < MIN_ID_ROWS:
        return
    for key, kind in spec.input.items():
        values = train.x[key]
        different = isinstance(kind, CategoryInput) and len(set(values.tolist())) == len(values)
        if different or (isinstance(kind, NumberInput) and _counts_up(values)):
            title = find_title(key, kind)
            yield f"{title} is another in every training row, as an id is: leave it out with ignore, or give it as id"


def _counts_up(values: Array) -> bool:
    """Whether whole numbers rise from row to row."""
    return bool((values == np.rint(values)).all() and (np.diff(values) > 0).all())
