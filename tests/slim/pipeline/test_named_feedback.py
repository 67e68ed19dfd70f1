"""Feedback on rows of several inputs joins a dataset of them."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from modelyard.models.data import Dataset, Split, Splits
from modelyard.models.inputs import CategoryInput, DateInput, NumberInput, OneInput, SequenceInput, VectorInput
from modelyard.models.registry.inputs.captured_input import DTYPE, decode_row, encode_row
from modelyard.models.spec import ModelSpec
from modelyard.pipeline.results import LoadedDataset
from modelyard.pipeline.stages.feedback import add_feedback, decode_inputs

INPUTS: Mapping[str, OneInput] = {
    "age": NumberInput(missing=True),
    "plan": CategoryInput(),
    "since": DateInput(missing=True),
    "position": VectorInput(2),
}


def strings(*values: str) -> Any:
    return np.array(values, dtype=object)


def rows(ages: Sequence[float], plans: Sequence[str]) -> Split:
    count = len(ages)
    x = {
        "age": np.array(ages, np.float32),
        "plan": strings(*plans),
        "since": strings(*["2026-11-29"] * count),
        "position": np.ones((count, 2), np.float32),
    }
    return Split(x, np.zeros(count, np.int32))


def captured(age: float, plan: str, **others: Any) -> dict[str, Any]:
    """Tensors of one row, as the gateway has them."""
    return {
        "age": np.array([age], np.float32),
        "plan": np.array([plan.encode()], object),
        "since": np.array([b""], object),
        "position": np.array([[1, 2]], np.float32),
        **others,
    }


def join(splits: Splits, tmp_path: Path, *tensors: Mapping[str, Any]) -> LoadedDataset:
    file = tmp_path / "feedback.jsonl"
    contents = [base64.b64encode(encode_row(row, 0)).decode() for row in tensors]
    lines = [orjson.dumps({"dtype": DTYPE, "shape": [], "content": content, "truth": 1.0}) for content in contents]
    file.write_bytes(b"\n".join(lines))
    spec = ModelSpec(dataset=Dataset("d", "", read=lambda _: splits), input=INPUTS)
    return add_feedback(LoadedDataset("d", "sample", "before", splits), spec, file, lambda _: None)


def test_rows_join_by_name_with_their_missing_values(tmp_path: Path) -> None:
    """In the dataset's own types; what is tested on is left out, and another model's row too."""
    splits = Splits(rows([1, 2], ["a", "b"]), rows([3], ["c"]), rows([4], ["d"]))
    tested = captured(4, "d", since=np.array([b"2026-11-29"], object), position=np.ones((1, 2), np.float32))
    other = {name: array for name, array in captured(9, "x").items() if name != "plan"}
    wide = captured(9, "x", position=np.ones((1, 3), np.float32))
    found = join(splits, tmp_path, captured(np.nan, "gold"), tested, other, wide, captured(5, "basic"))
    x = found.splits.train.x
    assert x["plan"].tolist() == ["a", "b", "gold", "basic"]
    assert np.isnan(x["age"]).tolist() == [False, False, True, False]
    assert x["since"].tolist() == ["2026-11-29"] * 2 + [""] * 2
    assert (x["position"][2].tolist(), x["position"].dtype, x["age"].dtype) == ([1, 2], np.float32, np.float32)
    assert found.splits.train.y.tolist() == [0, 0, 1, 1]
    assert (found.feedback, found.fingerprint != "before") == (2, True)


def test_the_newest_rows_are_held_out_by_name(tmp_path: Path) -> None:
    """An empty split of the same types takes them."""
    splits = Splits(rows([1], ["a"]), rows([3], ["c"]), rows([4], ["d"]))
    found = join(splits, tmp_path, *[captured(10 + number, "gold") for number in range(10)])
    assert found.recent
    assert found.recent.x["age"].tolist() == [18, 19]
    assert found.recent.x["position"].shape == (2, 2)


def test_a_captured_row_is_read_as_it_was_written() -> None:
    """Numbers, missing ones, texts, files and arrays; equal rows are equal bytes."""
    tensors = captured(np.nan, "café", photo_bytes=np.array([b"\x89PNG\xff"], object), clicks=np.array([3]))
    content = encode_row(tensors, 0)
    assert content == encode_row(dict(reversed(tensors.items())), 0)
    row = decode_row(content)
    assert np.isnan(row["age"])
    assert (row["plan"], row["since"], row["photo_bytes"], row["clicks"]) == ("café", "", b"\x89PNG\xff", 3.0)
    assert np.array_equal(row["position"], np.array([1, 2], np.float32))


def test_sequences_are_read_with_any_number_of_steps() -> None:
    """And with the model's numbers in each."""
    kinds: Mapping[str, OneInput] = {"steps": SequenceInput(2), "age": NumberInput()}
    good = decode_row(encode_row({"steps": np.zeros((1, 7, 2), np.float32), "age": np.ones(1, np.float32)}, 0))
    found = decode_inputs(good, kinds)
    assert found is not None
    assert (found["steps"].shape, found["age"]) == ((7, 2), 1.0)
    wide = decode_row(encode_row({"steps": np.zeros((1, 7, 3), np.float32), "age": np.ones(1, np.float32)}, 0))
    assert decode_inputs(wide, kinds) is None
