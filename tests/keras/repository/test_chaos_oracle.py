"""How the chaos benchmark judges: an answer by the weights of the version that it names."""

import random
from pathlib import Path

import h5py
import pytest

from benchmarks.chaos.__main__ import summarize_s
from benchmarks.chaos.page import BAD
from benchmarks.generator import Answer
from benchmarks.linear_oracle import MODEL, WEIGHTS, Predictions

AGAIN = b"http/1.1 503 x\r\nretry-after: 1"


@pytest.fixture
def predictions(tmp_path: Path) -> Predictions:
    """Of a store whose version 3 computes 2 x - 1."""
    path = tmp_path / MODEL / "3" / WEIGHTS
    path.parent.mkdir(parents=True)
    with h5py.File(path, "w") as file:
        file["layers/dense/vars/0"], file["layers/dense/vars/1"] = [[2.0]], [-1.0]
        file["optimizer/vars/1"], file["optimizer/vars/2"] = [[9.0]], [9.0]
    return Predictions(8080, tmp_path, random.Random(0))


def answer_with(status: int, body: bytes = b"", head: bytes = b"http/1.1 200 ok\r\nx-model-version: 3") -> Answer:
    return Answer(4.0, status, head, body, due=1.0, done=2.0)


def test_only_the_named_versions_own_output_is_right(predictions: Predictions) -> None:
    """Another value, or a version that is in no store, is wrong."""
    predictions.judge(answer_with(200, b'{"predictions":[{"value":[7.000001],"typical":true}]}'))
    predictions.judge(answer_with(200, b'{"predictions":[{"value":[7.1]}]}'))
    predictions.judge(
        answer_with(200, b'{"predictions":[{"value":[7.0]}]}', head=b"http/1.1 200 ok\r\nx-model-version: 4")
    )
    assert (len(predictions.right), dict(predictions.wrong)) == (1, {"version 3": 1, "version 4": 1})


def test_refusals_deadlines_and_other_errors_are_distinguished(predictions: Predictions) -> None:
    """503 is promised with Retry-After only."""
    for each in (answer_with(503, head=AGAIN), answer_with(503), answer_with(504), answer_with(500)):
        predictions.judge(each)
    assert (predictions.refused, predictions.late, sum(predictions.other.values())) == (1, 1, 2)
    assert "other_answers" in BAD


def test_times_are_counted_where_there_are_any() -> None:
    """Median by nearest rank, and the longest."""
    assert summarize_s([3.0, None, 1.0, 2.0]) == {"count": 3, "p50": 2.0, "max": 3.0}
    assert summarize_s([None]) == {"count": 0}
