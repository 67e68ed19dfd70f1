"""``arrays``: the arrays of an ``.npz`` file are a dataset."""

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modelyard.models.data import Dataset, Inputs, Schema, Split, Splits
from modelyard.models.errors import InvalidData
from modelyard.models.inputs import ImageInput, ModelInput, NumberInput, OneInput, SequenceInput, TextInput, VectorInput
from modelyard.models.readers.splits import (
    DEFAULT_SHARES,
    TEST,
    TRAIN,
    VALIDATION,
    Shares,
    check_rows,
    check_shares,
    choose_parts,
    hash_rows,
)
from modelyard.models.readers.targets import is_few, sort_labels
from modelyard.models.types import Array, Task

_UNREADABLE = (zipfile.BadZipFile, KeyError, EOFError, OSError, ValueError)


def arrays(
    path: str | Path,
    x: str | Sequence[str] = "x",
    y: str = "y",
    *,
    input: ModelInput | None = None,  # noqa: A002  # as in ModelSpec
    task: Task | None = None,
    split: Shares = DEFAULT_SHARES,
) -> Dataset:
    """The arrays of an ``.npz`` file as a dataset; rows are split by a hash of their content.

    Args:
        path: the file, relative to the model's file. Arrays of Python objects are refused: they are code.
        x: the inputs: ``uint8 [N,H,W]`` or ``[N,H,W,C]`` are images, ``[N,D]`` vectors, ``[N,T,D]`` sequences, ``[N]``
            numbers, ``str [N]`` texts. Several names are several inputs by name.
        y: the target ``[N]``: texts and few whole numbers are classes, other numbers are numbers; ``[N,K]`` several
            numbers, or several labels if all are 0 or 1.
        input: what the inputs are, where shapes do not tell.
        task: what is predicted, where the target does not tell.
        split: shares of training, validation and test.

    Raises:
        InvalidData: a file of another kind, or shares that do not add up.
    """
    file = Path(path)
    if file.suffix.lower() != ".npz":
        raise InvalidData(f"{file}: expected a file .npz, received {file.suffix or 'no suffix'!r}")
    check_shares(split)
    reader = ArraysReader(file, x if isinstance(x, str) else tuple(x), y, input, task, split)
    return Dataset(name=file.name, homepage="", read=reader.read, inspect=reader.inspect, own=True)


@dataclass(frozen=True)
class ArraysReader:
    """Reads one file, as ``arrays`` describes it."""

    file: Path
    x: str | tuple[str, ...]
    y: str
    input: ModelInput | None
    task: Task | None
    split: Shares

    def inspect(self, folder: Path) -> Schema:
        """Inputs by shapes and types, the task by the target.

        Raises:
            InvalidData: the file is not there, is damaged, or lacks an array.
        """
        target = read_array(folder / self.file, self.y)
        return Schema(self._find_input(folder), self.task or guess_task(target))

    def read(self, folder: Path) -> Splits:
        """All rows in their parts.

        Raises:
            InvalidData: arrays of unequal length, too few rows, or a target that does not fit the task.
        """
        file = folder / self.file
        kinds = self._find_input(folder)
        found = {name: read_array(file, name) for name in self._names}
        target = read_array(file, self.y)
        self._check_lengths(found, target)
        parts = choose_parts(
            hash_rows(np.concatenate([to_rows(found[name]) for name in sorted(found)], axis=1)), self.split
        )
        y, labels = convert_target(file, self.y, target, self.task or guess_task(target))
        x = {name: convert_input(values, self._kind_of(kinds, name)) for name, values in found.items()}

        def take(part: int) -> Split:
            chosen = {name: values[parts == part] for name, values in x.items()}
            only: Inputs = chosen[self.x] if isinstance(self.x, str) else chosen
            return Split(only, y[parts == part])

        schema = Schema(kinds, self.task or guess_task(target), labels)
        return Splits(take(TRAIN), take(VALIDATION), take(TEST), schema=schema)

    @property
    def _names(self) -> tuple[str, ...]:
        return (self.x,) if isinstance(self.x, str) else self.x

    def _find_input(self, folder: Path) -> ModelInput:
        if self.input is not None:
            return self.input
        guessed = {name: guess_input(self.file, name, *read_header(folder / self.file, name)) for name in self._names}
        return guessed[self.x] if isinstance(self.x, str) else guessed

    def _kind_of(self, kinds: ModelInput, name: str) -> OneInput:
        return kinds[name] if isinstance(kinds, Mapping) else kinds

    def _check_lengths(self, found: Mapping[str, Array], target: Array) -> None:
        for name, values in found.items():
            if len(values) != len(target):
                raise InvalidData(
                    f"{self.file.name}: {name!r} has {len(values)} rows, the target {self.y!r} has {len(target)}"
                )
        check_rows(self.file, len(target))


def read_array(file: Path, name: str) -> Array:
    """One array of the file.

    Raises:
        InvalidData: it is not there, or cannot be read.
    """
    shape, dtype = read_header(file, name)
    if dtype.hasobject:
        raise InvalidData(f"{file.name}: {name!r} holds Python objects, which may be code; save numbers or texts")
    if not shape:
        raise InvalidData(f"{file.name}: {name!r} is one value, expected one for each row")
    try:
        with np.load(file, allow_pickle=False) as archive:
            found: Array = archive[name]
    except _UNREADABLE as error:
        raise InvalidData(f"{file.name}: {name!r} cannot be read: {error}") from error
    return found


def read_header(file: Path, name: str) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    """Shape and type of one array, without its values.

    Raises:
        InvalidData: the file is not there, is no ``.npz``, or has no such array.
    """
    if not file.is_file():
        raise InvalidData(f"{file} is not there: a path is relative to the folder of the model's file")
    try:
        with zipfile.ZipFile(file) as archive:
            names = [entry.removesuffix(".npy") for entry in archive.namelist()]
            if name not in names:
                raise InvalidData(f"{file.name} has no array {name!r}; it has {', '.join(map(repr, names))}")
            with archive.open(f"{name}.npy") as content:
                major, _ = np.lib.format.read_magic(content)
                read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(content)
    except _UNREADABLE as error:
        raise InvalidData(f"{file.name} is no sound .npz file: {error}") from error
    return shape, dtype


def guess_input(file: Path, name: str, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> OneInput:
    """The kind of input by shape and type.

    Raises:
        InvalidData: no kind has this shape and type.
    """
    if dtype.kind == "U" and len(shape) == 1:
        return TextInput()
    match dtype.kind, shape:
        case "u", (_, height, width) if dtype == np.uint8:
            return ImageInput(height, width)
        case "u", (_, height, width, 1 | 3 | 4 as channels) if dtype == np.uint8:
            return ImageInput(height, width, channels)
        case (("b" | "i" | "u" | "f"), (_,)):
            return NumberInput()
        case (("b" | "i" | "u" | "f"), (_, size)):
            return VectorInput(size)
        case (("i" | "u" | "f"), (_, _, size)):
            return SequenceInput(size)
    raise InvalidData(
        f"{file.name}: {name!r} is {dtype} {list(shape)}: expected images uint8 [N,H,W] or [N,H,W,C] with 1, 3 or 4 "
        "channels, vectors [N,D], sequences [N,T,D], numbers [N] or texts; or give input"
    )


def convert_input(values: Array, kind: OneInput) -> Array:
    """As ``Split`` has them."""
    if kind.kind == "image":
        return values[..., None] if values.ndim == 3 else values  # noqa: PLR2004
    return values.astype(object if values.dtype.kind == "U" else np.float32)


def to_rows(values: Array) -> Array:
    """``uint8 [N,B]``: the bytes of each row."""
    return np.ascontiguousarray(values).reshape(len(values), -1).view(np.uint8)


def guess_task(target: Array) -> Task:
    """Classes, numbers or several of them."""
    if target.ndim > 1:
        return "multilabel" if target.dtype.kind != "U" and np.isin(target, (0, 1)).all() else "regression"
    if target.dtype.kind in "iuf" and not is_few(target):
        return "regression"
    return "binary" if len(np.unique(target)) <= len(("no", "yes")) else "multiclass"


def convert_target(file: Path, name: str, target: Array, task: Task) -> tuple[Array, tuple[str, ...]]:
    """Targets as ``Split`` has them, and labels.

    Raises:
        InvalidData: numbers that are not finite, or texts where numbers are expected.
    """
    if task in ("regression", "multilabel"):
        if target.dtype.kind == "U":
            raise InvalidData(f"{file.name}: {name!r} holds texts, a {task} task has numbers")
        numbers = target.astype(np.float32)
        if (wrong := np.argwhere(~np.isfinite(numbers))).size:
            raise InvalidData(f"{file.name}: {name!r} is {numbers[tuple(wrong[0])]} in row {wrong[0][0] + 1}")
        labels = tuple(f"{name}_{index}" for index in range(target.shape[1])) if target.ndim > 1 else ()
        return numbers, labels
    values, ids = np.unique(target, return_inverse=True)
    names = [str(int(value)) if value.dtype.kind == "f" and value.is_integer() else str(value) for value in values]
    labels = sort_labels(names)
    ranks = np.array([labels.index(text) for text in names], np.int32)
    return ranks[ids], labels
