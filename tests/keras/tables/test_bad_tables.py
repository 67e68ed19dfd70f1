"""Files that cannot be used are refused with file, line and column, before anything is trained."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelyard import CategoryInput, DateInput, ImageInput, NumberInput, arrays, table
from modelyard.models.errors import InvalidData

LINES = [f"{i * 7},{'ab'[i % 2]},{i / 3:.3f}" for i in range(60)]
HEADER = "k,y,v"


def csv(*lines: str, header: str = HEADER) -> bytes:
    return "\n".join([header, *lines, ""]).encode()


BAD_CSV: dict[str, tuple[bytes, dict[str, Any], str]] = {
    "nothing": (b"", {}, "x.csv is empty: expected a header and rows"),
    "only a header": (csv(), {}, "x.csv has no rows"),
    "seven rows": (csv(*LINES[:7]), {}, "x.csv has 7 rows: at least 20 are needed"),
    "no target": (csv(*LINES, header="k,z,v"), {}, "x.csv has no column 'y'; it has 'k', 'z', 'v'"),
    "a target of nearly that name": (csv(*LINES, header="k,yes,v"), {"target": "yess"}, "did you mean 'yes'"),
    "duplicate headers": (csv(*LINES, header="k,y,k"), {}, "columns 1 and 3 have one name, 'k'"),
    "headers that give one name": (csv(*LINES, header="a b,y,a-b"), {}, "columns 'a b' and 'a-b' would both be"),
    "a short row": (csv(*LINES, "1,a"), {}, "x.csv, line 62: expected 3 cells as in the header, received 2"),
    "a long row": (csv("1,a,2,3", *LINES), {}, "x.csv, line 2: expected 3 cells as in the header, received 4"),
    "a short row behind a cell of two lines": (
        csv(*LINES, '"x\ny",a,1', "1,a"),
        {"columns": {"k": CategoryInput()}},
        "line 64: expected 3",
    ),
    "latin-1": (csv(*LINES) + "é,a,3\n".encode("latin-1"), {}, "x.csv, line 62: byte 0xe9 is not UTF-8"),
    "UTF-16": (csv(*LINES).decode().encode("utf-16"), {}, "x.csv, line 1: byte 0xff is not UTF-8"),
    "a latin-1 header": ("k,y,größe\n".encode("latin-1") + csv(*LINES), {}, "x.csv, line 1: byte"),
    "a text in a number column": (
        csv(*LINES, "", "1,a,many"),
        {"columns": {"v": NumberInput()}},
        "x.csv, line 63, column 'v': expected a number, received 'many'",
    ),
    "a late text in a guessed number column": (
        csv(*LINES * 20, "many,a,1"),
        {},
        "x.csv, line 1202, column 'k': expected a number, received 'many'",
    ),
    "an infinite input": (csv(*LINES, "inf,a,1"), {}, "line 62, column 'k': inf is no finite number"),
    "an input beyond 32 bits": (csv(*LINES, "1e300,a,1"), {}, "line 62, column 'k': 1e\\+300 is no finite number"),
    "no date": (
        csv(*(f"2026-01-{i % 28 + 1:02d},a,{i % 5}" for i in range(60)), "2026-13-01,b,1", header="d,y,v"),
        {"columns": {"d": DateInput()}},
        "line 62, column 'd': expected a date such as 2026-11-29, received '2026-13-01'",
    ),
    "an empty target": (csv(*LINES, "1,,3", "2, ,4"), {}, "line 62, column 'y': the target is missing, and .* 1 more"),
    "a NaN target": (csv(*LINES, "1,a,nan"), {"target": "v"}, "line 62, column 'v': the target is missing"),
    "an infinite target": (csv(*LINES, "1,a,-inf"), {"target": "v"}, "line 62, column 'v': -inf is no finite"),
    "a text among targets": (csv(*LINES, "1,a,many"), {"target": "v", "task": "regression"}, "received 'many'"),
    "one class": (csv(*(f"{i},a,{i}" for i in range(60))), {}, "the target 'y' is 'a' in every row"),
    "three classes of two": (
        csv(*LINES, "1,c,3"),
        {"task": "binary"},
        "binary task has two classes, .* has 3: a, b, c",
    ),
    "a target of names": (csv(*(f"1,n{i},{i % 3}" for i in range(60))), {}, "60 different values in the first 60 rows"),
    "labels that are not 0 or 1": (
        csv(*LINES, "1,a,0"),
        {"target": ("k", "v"), "task": "multilabel"},
        "column 'k': expected 0 or 1, as of several labels",
    ),
    "two targets of classes": (csv(*LINES), {"target": ("y", "v"), "task": "multiclass"}, "has one target"),
    "another delimiter": (csv(*(line.replace(",", ";") for line in LINES), header="k;y;v"), {}, "delimiter=';'"),
    "an unknown column in columns": (
        csv(*LINES),
        {"columns": {"kk": NumberInput()}},
        "no column 'kk'; did you mean 'k'",
    ),
    "an unknown id": (csv(*LINES), {"id": "user"}, "no column 'user'"),
    "a missing id": (csv(*LINES, ",a,1"), {"id": "k"}, "line 62, column 'k': the id is missing"),
    "a missing time": (csv(*LINES, ",a,1"), {"time": "k"}, "line 62, column 'k': the time is missing"),
    "no time": (csv(*LINES, "soon,a,1"), {"time": "k"}, "line 62, column 'k': expected a time .* received 'soon'"),
    "nothing to predict from": (csv(*LINES), {"ignore": ["k", "v"]}, "no column beside the target"),
    "a column as an image": (csv(*LINES), {"columns": {"k": ImageInput(8, 8)}}, "cannot be an input of kind 'image'"),
}


@pytest.mark.parametrize("case", BAD_CSV)
def test_a_bad_csv_is_refused_where_it_is_bad(tmp_path: Path, case: str) -> None:
    """With the line as an editor counts it."""
    content, options, text = BAD_CSV[case]
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(InvalidData, match=text):
        table("x.csv", **{"target": "y", **options}).read(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("x.jsonl", b'{"k": 1, "y": 2}\n\n{"k": 1\n', "x.jsonl, line 3: not JSON"),
        ("x.jsonl", b'{"k": 1, "y": 2}\n[1]\n', "x.jsonl, line 2: expected a JSON object, received list"),
        ("x.jsonl", b'{"k": {"a": 1}, "y": 2}\n', "x.jsonl, line 1, column 'k': expected a number or a text"),
        ("x.jsonl", b'{"k": [1, "a"], "y": 2}\n', "x.jsonl, line 1, column 'k': expected a list of numbers"),
        ("x.jsonl", b'{"k": "\xe9", "y": 2}\n', "x.jsonl, line 1: byte 0xe9 is not UTF-8"),
        ("x.jsonl", b"", "x.jsonl has no rows"),
        ("x.parquet", b"PAR1 and nothing else", "x.parquet is no sound Parquet file"),
        ("x.parquet", b"", "x.parquet is no sound Parquet file"),
    ],
)
def test_other_formats_are_refused_too(tmp_path: Path, name: str, content: bytes, text: str) -> None:
    """JSON lines by line, Parquet as a whole."""
    (tmp_path / name).write_bytes(content)
    for read in (table(name, "y").inspect, table(name, "y").read):
        assert read is not None
        with pytest.raises(InvalidData, match=text):
            read(tmp_path)


def test_lists_of_unequal_length_are_refused(tmp_path: Path) -> None:
    """A vector has one size."""
    (tmp_path / "x.jsonl").write_text('{"k": [1, 2], "y": 0}\n{"k": [1], "y": 1}\n' * 20)
    with pytest.raises(InvalidData, match="line 2, column 'k': expected 2 numbers, received 1"):
        table("x.jsonl", "y").read(tmp_path)


def test_a_file_that_is_not_there_is_named_with_its_folder(tmp_path: Path) -> None:
    """A path is relative to the model's file; folders are no files."""
    for name in ("none.csv", "../none.csv"):
        with pytest.raises(InvalidData, match="is not there: a path is relative to the folder of the model's file"):
            table(name, "y").read(tmp_path)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InvalidData, match="is not there"):
        table("folder.csv", "y").read(tmp_path)


@pytest.mark.parametrize(
    ("path", "options", "text"),
    [
        ("x.xlsx", {}, "expected a file .csv, .parquet, .jsonl, received '.xlsx'"),
        ("x", {}, "received 'no suffix'"),
        ("x.csv", {"id": "a", "time": "b"}, "give id or time, not both"),
        ("x.csv", {"split": (0.8, 0.1, 0.2)}, "add up to 1"),
        ("x.csv", {"split": (0.9, 0.1, 0.0)}, "above 0"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_at_once(path: str, options: dict[str, Any], text: str) -> None:
    """When the model's file is loaded, without the data."""
    with pytest.raises(InvalidData, match=text):
        table(path, "y", **options)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"x": "q"}, "no array 'q'; it has 'x', 'y', 'short', 'one', 'objects', 'nan'"),
        ({"x": "short"}, "'short' has 5 rows, the target 'y' has 60"),
        ({"x": "short", "y": "short"}, "has 5 rows: at least 20 are needed"),
        ({"y": "objects"}, "holds Python objects, which may be code"),
        ({"y": "one"}, "is one value, expected one for each row"),
        ({"y": "nan"}, "'nan' is nan in row 60"),
    ],
)
def test_bad_arrays_are_refused(tmp_path: Path, options: dict[str, str], text: str) -> None:
    """Nothing is unpickled."""
    nan = np.append(np.arange(59.0) / 7, np.nan)
    arrays_of = {"x": np.zeros((60, 3)), "y": np.arange(60) % 3, "short": np.arange(5.0), "one": np.array(1)}
    np.savez(tmp_path / "x.npz", **arrays_of, objects=np.array([{}] * 60, object), nan=nan)
    with pytest.raises(InvalidData, match=text):
        arrays("x.npz", **options).read(tmp_path)


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    """A file of another kind, and none."""
    with pytest.raises(InvalidData, match="is not there"):
        arrays("x.npz").read(tmp_path)
    (tmp_path / "x.npz").write_bytes(b"PK and nothing else")
    with pytest.raises(InvalidData, match="no sound"):
        arrays("x.npz").read(tmp_path)
    with pytest.raises(InvalidData, match="expected a file"):
        arrays("x.csv")
