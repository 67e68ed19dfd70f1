"""Tables and arrays of one's own: kinds of columns, the task, formats that agree, parts that stay."""

import datetime as dt
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from modelyard import (
    CategoryInput,
    DateInput,
    NumberInput,
    Splits,
    TextInput,
    table,
)
from modelyard.models.errors import InvalidData
from modelyard.models.types import Task
from tests.support.tables import TARGET, read_rows, write_csv, write_table

PARTS = ("train", "validation", "test")


def read(path: Path, **options: Any) -> Splits:
    return table(path.name, **{"target": TARGET, **options}).read(path.parent)


def row_sets(splits: Splits) -> dict[str, set[tuple[Any, ...]]]:
    """Rows of inputs by part."""
    return {name: set(zip(*getattr(splits, name).x.values(), strict=True)) for name in PARTS}


def test_kinds_are_guessed_from_the_cells(tmp_path: Path) -> None:
    """Numbers, categories, codes with leading zeros, dates, texts, missing values, titles that are no identifiers."""
    titles = ["age", "plan (paid)", "zip", "joined", "note", "class", "3d", "größe", TARGET]
    rows = [
        [
            "" if i == 3 else i / 2,
            ["gold", " free ", ""][i % 3],
            f"0{i % 10}123",
            f"2026-01-{i % 28 + 1:02d}",
            f"they wrote letter {i} to us",
            i % 7,
            "NA" if i % 5 else 1.5,
            "true",
            i % 2,
        ]
        for i in range(60)
    ]
    splits = read(write_csv(tmp_path / "x.csv", titles, rows))
    assert splits.schema is not None
    assert splits.schema.task == "binary"
    assert splits.schema.labels == ("0", "1")
    assert splits.schema.input == {
        "age": NumberInput(missing=True),
        "plan_paid": CategoryInput(("free", "gold"), missing=True, title="plan (paid)"),
        "zip": CategoryInput(tuple(f"0{i}123" for i in range(10))),
        "joined": DateInput(),
        "note": TextInput(),
        "class_": NumberInput(title="class"),
        "column_3d": NumberInput(missing=True, title="3d"),
        "groe": CategoryInput(("true",), title="größe"),
    }
    assert set(splits.train.x["plan_paid"]) == {"gold", "free", ""}
    assert splits.train.x["age"].dtype == np.float32
    assert np.isnan(np.concatenate([getattr(splits, name).x["age"] for name in PARTS])).sum() == 1


def test_what_is_given_stands_above_the_guess(tmp_path: Path) -> None:
    """A number as a category, by its title; columns that are left out; a column that splits is no input."""
    rows = [[i % 4, i, f"2026-01-{i % 28 + 1:02d}", i % 2] for i in range(60)]
    path = write_csv(tmp_path / "x.csv", ["area code", "id", "when", TARGET], rows)
    schema = read(path, columns={"area code": CategoryInput()}, id="id", ignore=["when"]).schema
    assert schema is not None
    assert schema.input == {"area_code": CategoryInput(("0", "1", "2", "3"), title="area code")}
    used = read(path, columns={"when": DateInput()}, time="when").schema
    assert used is not None
    assert isinstance(used.input, Mapping)
    assert list(used.input) == ["area_code", "id", "when"]


@pytest.mark.parametrize(
    ("targets", "options", "task", "labels"),
    [
        ([10, 9, 1], {}, "multiclass", ("1", "9", "10")),
        (["b", "a", "b"], {}, "binary", ("a", "b")),
        (["2.0", "10.0", "2.0"], {}, "binary", ("2", "10")),
        ([0.5, 1.25, 7], {}, "regression", ()),
        ([1, 2, 3], {"task": "regression"}, "regression", ()),
    ],
)
def test_the_target_tells_the_task(
    tmp_path: Path, targets: list[Any], options: dict[str, Any], task: Task, labels: tuple[str, ...]
) -> None:
    """Texts and few whole numbers are classes, in the order of their numbers; others are numbers."""
    rows = [[i * 7919 % 1000, targets[i % 3]] for i in range(60)]
    path = write_csv(tmp_path / "x.csv", ["x", TARGET], rows)
    schema = read(path, **options).schema
    assert schema is not None
    assert (schema.task, schema.labels) == (task, labels)
    assert table("x.csv", TARGET, **options).inspect(tmp_path).task == task  # type: ignore[misc]


def test_whole_numbers_that_seldom_repeat_are_numbers(tmp_path: Path) -> None:
    """Prices are no classes."""
    path = write_csv(tmp_path / "x.csv", ["x", TARGET], [[i, i * 7919 % 1000] for i in range(60)])
    schema = read(path).schema
    assert schema is not None
    assert schema.task == "regression"


def test_several_targets_are_labels_or_numbers(tmp_path: Path) -> None:
    """All 0 or 1: any of several labels; else one number each."""
    path = write_csv(tmp_path / "x.csv", ["x", "a", "b"], [[i * 3, i % 2, i // 2 % 2] for i in range(60)])
    splits = read(path, target=("a", "b"))
    assert splits.schema is not None
    assert (splits.schema.task, splits.schema.labels) == ("multilabel", ("a", "b"))
    assert splits.train.y.shape == (len(splits.train), 2)
    numbers = read(path, target=("a", "x"))
    assert numbers.schema is not None
    assert (numbers.schema.task, numbers.schema.labels) == ("regression", ("a", "x"))


@pytest.mark.parametrize("name", ["cancer", "wine", "diabetes"])
def test_formats_agree(tmp_path: Path, name: str) -> None:
    """The same table as CSV, Parquet and JSON lines: the same inputs, targets and parts, to the last bit."""
    titles, rows = read_rows(name)
    found = [read(write_table(tmp_path / f"{name}{end}", titles, rows)) for end in (".csv", ".parquet", ".jsonl")]
    for other in found[1:]:
        assert other.schema == found[0].schema
        for part in PARTS:
            one, two = getattr(found[0], part), getattr(other, part)
            np.testing.assert_array_equal(one.y, two.y)
            for key, values in one.x.items():
                np.testing.assert_array_equal(values, two.x[key])


def test_parquet_types_are_kept(tmp_path: Path) -> None:
    """Times become ISO 8601, lists vectors, yes and no categories; a dictionary holds its values."""
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    cells = {
        "at": [start + dt.timedelta(hours=7 * i) for i in range(60)],
        "day": [dt.date(2026, 1, 1) + dt.timedelta(days=i) for i in range(60)],
        "point": [[float(i), 2.0] for i in range(60)],
        "kind": pa.array(["x", "y", None] * 20).dictionary_encode(),
        "open": [True, False] * 30,
        TARGET: [i / 7 for i in range(60)],
    }
    parquet.write_table(pa.table(cells), tmp_path / "x.parquet")
    splits = read(tmp_path / "x.parquet")
    assert splits.schema is not None
    kinds = {name: kind.kind for name, kind in splits.schema.input.items()}  # type: ignore[union-attr]
    assert kinds == {"at": "date", "day": "date", "point": "vector", "kind": "category", "open": "category"}
    at = np.concatenate([getattr(splits, name).x["at"] for name in PARTS])
    assert set(at) == {f"{time:%Y-%m-%dT%H:%M:%SZ}" for time in cells["at"]}  # type: ignore[str-format]
    assert splits.train.x["point"].shape == (len(splits.train), 2)


def test_what_is_known_at_a_glance_is_what_is_read(tmp_path: Path) -> None:
    """A key of JSON lines that comes up late is no input: the spec was loaded without it."""
    lines = ['{"n": %d, "target": %d%s}' % (i * 7, i % 2, ', "late": 1' * (i > 1_000)) for i in range(1_100)]  # noqa: UP031
    (tmp_path / "x.jsonl").write_text("\n".join(lines))
    inspect = table("x.jsonl", TARGET).inspect
    assert inspect is not None
    schema = read(tmp_path / "x.jsonl").schema
    assert schema is not None
    assert inspect(tmp_path).input == schema.input == {"n": NumberInput()}


@pytest.mark.parametrize("end", [".parquet", ".jsonl"])
def test_a_column_that_is_no_input_may_hold_anything(tmp_path: Path, end: str) -> None:
    """If it is left out; otherwise it is refused, and the error says how to leave it out."""
    rows = [[i * 7, {"street": "x"}, ["a"], i % 2] for i in range(60)]
    path = write_table(tmp_path / f"x{end}", ["n", "address", "tags", TARGET], rows)
    schema = read(path, ignore=["address", "tags"]).schema
    assert schema is not None
    assert schema.input == {"n": NumberInput()}
    with pytest.raises(InvalidData, match=r"column 'address': expected .* leave it out with ignore"):
        read(path, ignore=["tags"])


@pytest.mark.parametrize("name", ["cancer", "wine", "diabetes"])
def test_nothing_that_was_trained_on_is_tested_on_when_the_data_has_grown(tmp_path: Path, name: str) -> None:
    """A fifth more rows, in another order: every old row is in its old part."""
    titles, rows = read_rows(name)
    old = row_sets(read(write_csv(tmp_path / "old.csv", titles, rows[: len(rows) * 5 // 6])))
    random.Random(0).shuffle(rows)
    new = row_sets(read(write_csv(tmp_path / "new.csv", titles, rows)))
    for part in PARTS:
        assert old[part] <= new[part]
    assert not old["train"] & new["test"]
    assert not new["train"] & (new["test"] | new["validation"])
    assert sum(map(len, new.values())) > sum(map(len, old.values()))


def test_equal_rows_and_equal_ids_are_in_one_part(tmp_path: Path) -> None:
    """A row's target does not move it: it may be corrected later. Rows of one customer stay together."""
    rows = [[i % 50, i // 50, i % 3 % 2] for i in range(200)]
    path = write_csv(
        tmp_path / "x.csv", ["customer", "visit", TARGET], [*rows, *([*row[:2], 1 - row[2]] for row in rows)]
    )
    parts = row_sets(read(path))
    assert sum(map(len, parts.values())) == len(set.union(*parts.values())) == 200
    customers = {
        name: set(getattr(read(path, id="customer", columns={"customer": NumberInput()}), name).x["customer"])
        for name in PARTS
    }
    assert sum(map(len, customers.values())) == len(set.union(*customers.values())) == 50


def test_shares_and_time_decide_the_parts(tmp_path: Path) -> None:
    """Shares are met nearly, by chance of the hash; by time exactly, the newest in test, equal times together."""
    rows = [[i, f"2026-01-{i // 20 + 1:02d}T{i % 20:02d}:00", i % 2] for i in range(400)]
    path = write_csv(tmp_path / "x.csv", ["x", "at", TARGET], rows[::-1])
    halves = read(path, split=(0.5, 0.3, 0.2))
    assert [len(getattr(halves, name)) for name in PARTS] == pytest.approx([200, 120, 80], abs=30)
    by_time = read(path, time="at")
    assert [min(getattr(by_time, name).x["x"]) for name in PARTS] == [0, 320, 360]
    assert [len(getattr(by_time, name)) for name in PARTS] == [320, 40, 40]
    by_number = read(path, time="x", columns={"at": DateInput()})
    assert len(by_number.test) == 40


@pytest.mark.parametrize(
    ("content", "options"),
    [
        (b"\xef\xbb\xbfx,target\n%b", {}),
        (b"x;target\n%b", {"delimiter": ";"}),
        (b",x,target\n%b", {}),
        (b"x , target\r\n%b", {}),
    ],
)
def test_what_programs_write_is_read(tmp_path: Path, content: bytes, options: dict[str, Any]) -> None:
    """A byte order mark, semicolons, row numbers without a title, spaces in the header and Windows' line ends."""
    mark = options.get("delimiter", ",")
    numbered = content.startswith(b",")
    lines = [mark.join([*([str(i)] * numbered), str(i * 7), "ab"[i % 2]]) for i in range(60)]
    path = tmp_path / "x.csv"
    path.write_bytes(content % ("\n".join(lines) + "\n").encode())
    schema = read(path, **options).schema
    assert schema is not None
    assert schema.input == {"x": NumberInput()}


def test_a_quoted_cell_may_hold_lines(tmp_path: Path) -> None:
    """Texts keep their line ends, commas and quotes."""
    rows = [[f'he said, "{i}"\nand left at once', i % 2] for i in range(60)]
    splits = read(write_csv(tmp_path / "x.csv", ["note", TARGET], rows))
    assert len(splits.train) + len(splits.validation) + len(splits.test) == 60
    assert set(splits.train.x["note"]) <= {row[0] for row in rows}
