"""Metrics, simplest answers and mistakes against values worked out by hand."""

import base64

import numpy as np
import pytest

from modelyard.pipeline.evaluation.calibration import list_calibration_bins, measure_calibration_error
from modelyard.pipeline.evaluation.confusion import compute_confusion
from modelyard.pipeline.evaluation.metrics import compute_class_metrics, compute_metrics, measure_simplest
from modelyard.pipeline.evaluation.mistakes import MAX_CHARS, MAX_IMAGE_BYTES, MAX_MISTAKES, list_mistakes

NAMES = ("negative", "positive")
PROBABILITIES = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7]], np.float32)
TRUTH = np.array([0, 1, 1, 1])
TAGS = ("red", "round", "ripe")
TAGGED = np.array([[1, 0, 1], [0, 1, 1], [0, 0, 1]], np.float32)
SCORES = np.array([[0.9, 0.2, 0.8], [0.6, 0.7, 0.4], [0.1, 0.1, 0.9]], np.float32)


def test_a_classifier_is_scored_per_class_and_as_a_whole() -> None:
    """One of four is wrong: a positive taken for a negative."""
    found = compute_metrics("binary", NAMES, TRUTH, PROBABILITIES)
    assert found["accuracy"] == 0.75
    assert found["roc_auc"] == 1.0
    assert found["loss"] == pytest.approx(-np.log([0.9, 0.4, 0.8, 0.7]).mean())
    assert compute_confusion("binary", NAMES, TRUTH, PROBABILITIES) == [[1, 0], [1, 2]]
    per_class = compute_class_metrics("binary", NAMES, TRUTH, PROBABILITIES)
    assert per_class["negative"] == pytest.approx({"precision": 0.5, "recall": 1.0, "f1": 2 / 3, "support": 1.0})
    assert per_class["positive"]["recall"] == pytest.approx(2 / 3)


def test_a_class_that_never_occurs_is_scored_without_a_warning() -> None:
    """Small test sets may lack one; what needs both classes is then not measured."""
    per_class = compute_class_metrics("multiclass", ("a", "b", "c"), np.array([0, 1]), np.eye(3)[:2])
    assert per_class["c"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0.0}
    assert "roc_auc" not in compute_metrics("binary", NAMES, np.ones(4, int), PROBABILITIES)


def test_calibration_error_is_the_mean_gap_between_confidence_and_accuracy() -> None:
    """Always 80 % sure and right in half of the cases: 0.3."""
    probabilities = np.tile([0.8, 0.2], (10, 1))
    assert measure_calibration_error(probabilities, np.array([0, 1] * 5)) == pytest.approx(0.3)
    assert measure_calibration_error(np.tile([1.0, 0.0], (4, 1)), np.zeros(4, int)) == 0
    (only,) = list_calibration_bins(probabilities, np.array([0, 1] * 5))
    assert (only.accuracy, only.examples) == (0.5, 10)


def test_a_regression_is_scored() -> None:
    """Perfect but for one value that is off by two."""
    found = compute_metrics("regression", (), np.array([0.0, 2.0, 4.0]), np.array([[0.0], [2.0], [6.0]]))
    assert found["mae"] == pytest.approx(2 / 3)
    assert found["r2"] == pytest.approx(0.5)


def test_several_numbers_are_scored_each_by_its_name() -> None:
    """The mean over both, and each."""
    y = np.array([[0.0, 10.0], [2.0, 20.0]])
    outputs = np.array([[0.0, 11.0], [2.0, 19.0]])
    assert compute_metrics("regression", ("a", "b"), y, outputs)["mae"] == pytest.approx(0.5)
    each = compute_class_metrics("regression", ("a", "b"), y, outputs)
    assert (each["a"]["mae"], each["b"]["mae"]) == (0.0, 1.0)


def test_several_labels_at_once_are_scored() -> None:
    """The second example has one label too many and one too few."""
    found = compute_metrics("multilabel", TAGS, TAGGED, SCORES)
    assert found["exact"] == pytest.approx(2 / 3)
    assert found["f1"] == pytest.approx((2 / 3 + 1 + 4 / 5) / 3)
    assert found["roc_auc"] == 1.0, "of the two labels that some have and some have not"
    red = compute_class_metrics("multilabel", TAGS, TAGGED, SCORES)["red"]
    assert red == pytest.approx({"precision": 0.5, "recall": 1.0, "f1": 2 / 3, "support": 1.0})


def test_texts_are_right_or_wrong() -> None:
    """Exactly equal."""
    truth, given = np.array(["a b", "c"], object), np.array(["a b", "c "], object)
    assert compute_metrics("text", (), truth, given) == {"exact": 0.5}


@pytest.mark.parametrize(
    ("task", "labels", "y", "metric", "expected"),
    [
        ("binary", NAMES, TRUTH, "accuracy", 0.75),
        ("binary", NAMES, TRUTH, "loss", -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))),
        ("binary", NAMES, TRUTH, "roc_auc", 0.5),
        ("binary", NAMES, TRUTH, "ece", None),
        ("multilabel", TAGS, TAGGED, "f1", 1 / 3),
        ("regression", (), np.array([0.0, 0.0, 3.0]), "r2", 0.0),
        ("regression", (), np.array([0.0, 0.0, 3.0]), "mae", 1.0),
        ("regression", (), np.array([0.0, 0.0, 3.0]), "rmse", np.sqrt(2)),
        ("text", (), np.array(["x", "y", "x"], object), "exact", 2 / 3),
        ("custom", (), np.zeros(3), "mean_return", None),
    ],
)
def test_the_simplest_answer_is_what_a_model_has_to_beat(
    task: str, labels: tuple[str, ...], y: np.ndarray, metric: str, expected: float | None
) -> None:
    """It ignores its input: the commonest class, the mean, the median for absolute errors."""
    found = measure_simplest(task, labels, y, metric)
    assert found == (None if expected is None else pytest.approx(expected))


def test_the_worst_mistakes_come_first_and_with_their_inputs() -> None:
    """Surest first; right answers are none."""
    texts = np.array(["fine", "x" * 2 * MAX_CHARS, "good", "bad"], object)
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.8, 0.2], [0.3, 0.7]])
    worst, other = list_mistakes("binary", NAMES, texts, TRUTH, probabilities)
    assert (worst.example, worst.expected, worst.received, worst.score) == (2, "positive", "negative", 0.8)
    assert worst.input == "good"
    assert other.input == "x" * MAX_CHARS


def test_mistakes_keep_what_is_small_of_any_input() -> None:
    """An image as a PNG file, made smaller if it must be; a row by name, null for what is missing; no large vector."""
    y, wrong = np.array([1]), np.array([[1.0, 0.0]])
    (image,) = list_mistakes("binary", NAMES, np.zeros((1, 4, 4, 3), np.uint8), y, wrong)
    assert base64.b64decode(image.input["png"]).startswith(b"\x89PNG")
    rows = {"age": np.array([np.nan], np.float32), "plan": np.array(["gold"], object)}
    (row,) = list_mistakes("binary", NAMES, rows, y, wrong)
    assert row.input == {"age": None, "plan": "gold"}
    (large,) = list_mistakes("binary", NAMES, np.zeros((1, 1000), np.float32), y, wrong)
    assert large.input is None
    noise = np.random.default_rng(0).integers(0, 256, (1, 200, 200, 3), np.uint8)
    (heavy,) = list_mistakes("binary", NAMES, noise, y, wrong)
    assert 0 < len(base64.b64decode(heavy.input["png"])) <= MAX_IMAGE_BYTES


def test_mistakes_of_labels_numbers_and_texts_read_as_people_write_them() -> None:
    """Lists of labels, numbers by name, texts."""
    x = np.zeros((3, 1), np.float32)
    (tagged,) = list_mistakes("multilabel", TAGS, x, TAGGED, SCORES)
    assert (tagged.expected, tagged.received) == (["round", "ripe"], ["red", "round"])
    numbers = list_mistakes("regression", ("a", "b"), x[:1], np.array([[1.0, 2.0]]), np.array([[1.0, 5.0]]))
    assert next(numbers).received == {"a": 1.0, "b": 5.0}
    (text,) = list_mistakes("text", (), x[:1], np.array(["right"], object), np.array(["wrong"], object))
    assert (text.expected, text.received) == ("right", "wrong")


def test_only_some_mistakes_are_kept() -> None:
    """However many there are."""
    count = 2 * MAX_MISTAKES
    outputs = np.arange(count, dtype=float)[:, None]
    kept = list(list_mistakes("regression", (), np.zeros((count, 1)), np.full(count, -1.0), outputs))
    assert [mistake.example for mistake in kept] == list(range(count - 1, count - 1 - MAX_MISTAKES, -1))
