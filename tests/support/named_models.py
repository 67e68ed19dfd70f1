"""scikit-learn's packaged tables as files: data that nobody made for these tests."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sklearn import datasets

LOADERS = {"cancer": datasets.load_breast_cancer, "wine": datasets.load_wine, "diabetes": datasets.load_diabetes}
TARGET = "target"
Rows = list[list[Any]]


def read_rows(name: str) -> tuple[list[str], Rows]:
    """Titles, and rows with the target last: a class by its name, or a number."""
    data = LOADERS[name]()
    names = getattr(data, "target_names", None)
    targets = data.target.tolist() if names is None else names[data.target].tolist()
    return [*data.feature_names, TARGET], [[*x, y] for x, y in zip(data.data.tolist(), targets, strict=True)]


def write_csv(path: Path, titles: Sequence[str], rows: Rows) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([titles, *rows])
    return path


def write_json_lines(path: Path, titles: Sequence[str], rows: Rows) -> Path:
    path.write_text("".join(json.dumps(dict(zip(titles, row, strict=True))) + "\n" for row in rows))
    return path


def write_parquet(path: Path, titles: Sequence[str], rows: Rows) -> Path:
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.table({title: [row[k] for row in rows] for k, title in enumerate(titles)}), path)
    return path


WRITERS = {".csv": write_csv, ".jsonl": write_json_lines, ".parquet": write_parquet}
"""Writers by the end of a file's name."""


def write_table(path: Path, titles: Sequence[str], rows: Rows) -> Path:
    """A table in the format of the file's name."""
    return WRITERS[path.suffix](path, titles, rows)
