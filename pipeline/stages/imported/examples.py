"""The user's own test data: arrays by input, and the true answers. NumPy files, CSV with a header, JSON lines."""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from modelyard.models.registry.manifest import SignatureSpec, TensorSpec
from modelyard.models.types import Array
from modelyard.pipeline.errors import ImportRefused

X = "x"
"""Stands for the name of the only input."""
READERS = (".npz", ".csv", ".jsonl")


@dataclass(frozen=True)
class Examples:
    """Inputs by the names of a signature's tensors, and the true answers, of equal length."""

    inputs: Mapping[str, Array]
    y: Array

    def __len__(self) -> int:
        return len(self.y)


def read_examples(path: Path, target: str, spec: SignatureSpec) -> Examples:
    """Reads the file by its ending.

    Raises:
        ImportRefused: it cannot be read, or its columns do not fit the signature; names the column and the row.
    """
    try:
        columns = read_columns(path, target, spec)
    except (OSError, ValueError, KeyError, csv.Error) as error:  # of NumPy, of JSON and of CSV
        raise ImportRefused(f"{path.name}: cannot be read: {first_sentence(error)}") from None
    if len(spec.inputs) == 1 and X in columns and spec.inputs[0].name != X:
        columns[spec.inputs[0].name] = columns.pop(X)
    wanted = {target, *(tensor.name for tensor in spec.inputs)}
    if columns.keys() != wanted:
        received = ", ".join(sorted(columns)) or "nothing"
        raise ImportRefused(f"{path.name}: expected {describe_columns(spec, target)}, received {received}")
    y = columns.pop(target)
    lengths = {name: len(values) for name, values in {**columns, target: y}.items()}
    if len(set(lengths.values())) != 1 or not len(y):
        raise ImportRefused(f"{path.name}: expected as many rows in each column, at least one, received {lengths}")
    return Examples({tensor.name: fit(path, tensor, columns[tensor.name]) for tensor in spec.inputs}, y)


def read_columns(path: Path, target: str, spec: SignatureSpec) -> dict[str, Array]:
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            return {name: np.atleast_1d(archive[name]) for name in archive.files}
    if path.suffix == ".jsonl":
        return read_json_lines(path)
    if path.suffix == ".csv":
        return read_csv(path, target, spec)
    raise ImportRefused(f"{path.name}: expected a file that ends in {', '.join(READERS)}")


def read_json_lines(path: Path) -> dict[str, Array]:
    """One object a line, all with the same names."""
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError:
            raise ImportRefused(f"{path.name}: line {number} is no JSON") from None
        if not isinstance(row, dict) or (rows and row.keys() != rows[0].keys()):
            names = ", ".join(rows[0]) if rows else "an object"
            raise ImportRefused(f"{path.name}: line {number}: expected {names}, received another row")
        rows.append(row)
    return {name: stack(path, name, [row[name] for row in rows]) for name in (rows[0] if rows else ())}


def stack(path: Path, name: str, values: Sequence[Any]) -> Array:
    """Rows of one column, which must have one shape."""
    try:
        found = np.array(values)
    except ValueError:
        raise ImportRefused(f"{path.name}: {name}: expected values of one shape in every row") from None
    if found.dtype == object:
        raise ImportRefused(f"{path.name}: {name}: expected numbers or texts in every row, received something else")
    return found


def read_csv(path: Path, target: str, spec: SignatureSpec) -> dict[str, Array]:
    """Columns by the header; of a signature that takes one vector, all but the target make it, in their order."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        header, *rows = list(csv.reader(file)) or [[]]
    if len(set(header)) < len(header):
        raise ImportRefused(f"{path.name}: expected each column once, received {', '.join(header)}")
    rows = [row for row in rows if row]
    for number, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise ImportRefused(f"{path.name}: line {number}: expected {len(header)} values, received {len(row)}")
    columns = {name: [row[place] for row in rows] for place, name in enumerate(header)}
    found = {target: parse_target(columns.pop(target))} if target in columns else {}
    (tensor, *others) = spec.inputs
    if not others and is_vector(tensor) and tensor.name not in columns and columns.keys() != {X}:
        parsed = [parse_numbers(path, name, cells) for name, cells in columns.items()]
        return found | ({tensor.name: np.stack(parsed, axis=1)} if parsed else {})
    types = {each.name: each.dtype for each in spec.inputs}
    if not others:
        types[X] = tensor.dtype
    return found | {
        name: np.array(cells) if types.get(name) == "string" else parse_numbers(path, name, cells)
        for name, cells in columns.items()
    }


def is_vector(tensor: TensorSpec) -> bool:
    """Whether a row of the input is several numbers."""
    return tensor.dtype != "string" and (tensor.shape is None or len(tensor.shape) > 1) and tensor.shape != (None, 1)


def parse_target(cells: Sequence[str]) -> Array:
    """Numbers where all are, else texts."""
    try:
        return np.array([float(cell) for cell in cells])
    except ValueError:
        return np.array(cells)


def parse_numbers(path: Path, name: str, cells: Iterable[str]) -> Array:
    found = []
    for number, cell in enumerate(cells, 2):
        try:
            found.append(float(cell) if cell.strip() else math.nan)
        except ValueError:
            raise ImportRefused(
                f"{path.name}: line {number}: {name}: expected a number, received {cell[:40]!r}"
            ) from None
    return np.array(found)


def fit(path: Path, tensor: TensorSpec, values: Array) -> Array:
    """Values in the tensor's type and shape.

    Raises:
        ImportRefused: they do not fit it.
    """
    if tensor.shape is not None and values.ndim == 1 and tensor.shape[1:] == (1,):
        values = values.reshape(-1, 1)
    if tensor.shape is not None and not fits_shape(values.shape[1:], tensor.shape[1:]):
        expected, received = format_row(tensor.shape[1:]), format_row(values.shape[1:])
        raise ImportRefused(f"{path.name}: {tensor.name}: expected rows of shape {expected}, received {received}")
    if (tensor.dtype == "string") != (values.dtype.kind in "US"):
        received = "texts" if values.dtype.kind in "US" else values.dtype.name
        raise ImportRefused(f"{path.name}: {tensor.name}: expected values of type {tensor.dtype}, received {received}")
    return encode_texts(values) if tensor.dtype == "string" else cast(path, tensor, values)


def cast(path: Path, tensor: TensorSpec, values: Array) -> Array:
    with np.errstate(invalid="ignore", over="ignore"):
        found = values.astype(tensor.dtype)
    if found.dtype.kind in "iub" and not np.array_equal(found, values):
        row = int(np.argwhere(found != values)[0][0])
        raise ImportRefused(f"{path.name}: {tensor.name}: row {row + 1}: expected a value of type {tensor.dtype}")
    return found


def encode_texts(values: Array) -> Array:
    """An object array of ``bytes``."""
    found = np.empty(values.shape, dtype=object)
    found.ravel()[:] = [each if isinstance(each, bytes) else str(each).encode() for each in values.ravel()]
    return found


def fits_shape(found: Sequence[int], wanted: Sequence[int | None]) -> bool:
    return len(found) == len(wanted) and all(want in (None, size) for want, size in zip(wanted, found, strict=True))


def format_row(sizes: Sequence[int | None]) -> str:
    return f"[{', '.join('any' if size is None else str(size) for size in sizes)}]"


def describe_columns(spec: SignatureSpec, target: str) -> str:
    names = [tensor.name for tensor in spec.inputs]
    inputs = f"{names[0]} (or {X})" if len(names) == 1 else ", ".join(names)
    return f"the inputs {inputs} and the target {target}"


def first_sentence(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
