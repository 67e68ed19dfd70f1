"""What the console shows of a version's errors, against values worked out by hand; and that all of it has a limit."""

from pathlib import Path

import numpy as np
import orjson
import pytest

from modelyard.models.data import Split
from modelyard.pipeline.evaluation import curves
from modelyard.pipeline.evaluation.confusion import MAX_CLASSES, MAX_PAIRS, compute_confusion, list_confused
from modelyard.pipeline.evaluation.curves import compute_curves
from modelyard.pipeline.evaluation.metrics import compute_class_metrics
from modelyard.pipeline.evaluation.mistakes import MAX_KEPT, MAX_PER_CELL, halve, write_mistakes
from modelyard.pipeline.evaluation.residuals import MAX_POINTS, describe_residuals, list_residuals
from modelyard.pipeline.stages.evaluate import describe_answers

NAMES = ("a", "b", "c")
TAGS = ("red", "round", "ripe")


def one_hot(classes: np.ndarray, count: int, sure: float = 0.9) -> np.ndarray:
    """Probabilities of answers that are all equally sure."""
    found = np.full((len(classes), count), (1 - sure) / (count - 1), np.float32)
    found[np.arange(len(classes)), classes] = sure
    return found


def test_the_commonest_confusions_come_first() -> None:
    """Right answers are none; of several labels at once, those missed and those given wrongly."""
    y, given = np.array([0, 0, 0, 1, 2, 2]), np.array([1, 1, 0, 1, 0, 2])
    found = [tuple(pair.model_dump().values()) for pair in list_confused("multiclass", NAMES, y, one_hot(given, 3))]
    assert found == [("a", "b", 2), ("c", "a", 1)]
    truth = np.array([[1, 0, 1], [1, 0, 0]], np.float32)
    scores = np.array([[0.1, 0.2, 0.8], [0.2, 0.9, 0.1]], np.float32)
    pairs = [tuple(pair.model_dump().values()) for pair in list_confused("multilabel", TAGS, truth, scores)]
    assert pairs == [("red", None, 2), (None, "round", 1)]


def test_a_thousand_classes_have_pairs_and_no_matrix() -> None:
    """A million cells would be mostly empty."""
    labels = tuple(f"class {k}" for k in range(1000))
    y = np.arange(3000) % 1000
    outputs = one_hot((y + 1 + np.arange(3000) // 1000) % 1000, 1000)
    assert compute_confusion("multiclass", labels, y, outputs) == []
    assert compute_confusion("multiclass", labels[:MAX_CLASSES], y % 2, outputs[:, :MAX_CLASSES]) != []
    assert len(list(list_confused("multiclass", labels, y, outputs))) == MAX_PAIRS
    per_class = compute_class_metrics("multiclass", labels, y, outputs)
    assert len(compute_curves("multiclass", labels, y, outputs, per_class)) == curves.MAX_CLASSES


def test_curves_are_those_of_the_positive_class() -> None:
    """One negative is ranked above one positive: three of four pairs are in order."""
    second = np.array([0.1, 0.6, 0.4, 0.8])
    outputs, y = np.stack([1 - second, second], axis=1), np.array([0, 0, 1, 1])
    per_class = compute_class_metrics("binary", NAMES[:2], y, outputs)
    (label, found), *rest = compute_curves("binary", NAMES[:2], y, outputs, per_class).items()
    assert (label, rest, found.positives) == ("b", [], 2)
    assert found.roc.area == 0.75
    assert list(zip(found.roc.x, found.roc.y, found.roc.thresholds, strict=True)) == [
        (0.0, 0.0, None),
        (0.0, 0.5, 0.8),
        (0.5, 0.5, 0.6),
        (0.5, 1.0, 0.4),
        (1.0, 1.0, 0.1),
    ]
    assert found.precision_recall.area == pytest.approx(0.5 + 0.5 * 2 / 3, abs=1e-5)
    assert (0.5, 1.0, 0.8) in zip(
        found.precision_recall.x, found.precision_recall.y, found.precision_recall.thresholds, strict=True
    )


def test_a_curve_of_many_answers_has_few_points() -> None:
    """First and last stay, and those between follow it; a class without examples has no curve."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 20_000)
    second = np.clip(y * 0.2 + rng.random(20_000) * 0.8, 0, 1)
    outputs = np.stack([1 - second, second, np.zeros(20_000)], axis=1)
    per_class = compute_class_metrics("multiclass", NAMES, y, outputs)
    found = compute_curves("multiclass", NAMES, y, outputs, per_class)
    assert list(found) == ["a", "b"]
    roc = found["b"].roc
    assert len(roc.x) <= curves.MAX_POINTS
    assert (roc.x[0], roc.y[0], roc.x[-1], roc.y[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(roc.y, roc.x) == pytest.approx(roc.area, abs=0.005)
    assert compute_curves("multiclass", NAMES, y, np.full_like(outputs, np.nan), per_class) == {}


def test_residuals_are_counted_in_bins_and_outliers_beside_them() -> None:
    """One error of a million does not make all others one bin; predictions that are no numbers are left out."""
    truth = np.arange(1000, dtype=np.float64)
    errors = np.tile([-1.0, 1.0], 500)
    errors[0] = 1e6
    found = describe_residuals(truth, truth + errors)
    assert (found.above, found.below, sum(found.counts)) == (1, 0, 999)
    assert (found.edges[0], found.edges[-1]) == (-1.0, 1.0)
    assert len(found.points) == MAX_POINTS
    names = dict(list_residuals("regression", ("x", "y"), np.ones((2, 2)), np.array([[1.5, np.nan], [1.5, np.nan]])))
    assert list(names) == ["x"]
    assert names["x"].bias == 0.5
    assert dict(list_residuals("text", (), np.array(["a"], object), np.array(["b"], object))) == {}


def test_no_kind_of_mistake_is_crowded_out_of_the_file(tmp_path: Path) -> None:
    """The worst of each come before the second worst of any; in the file, the worst of all is first."""
    y = np.array([0] * 500 + [2])
    outputs = np.concatenate([one_hot(np.ones(500, int), 3, 0.9), one_hot(np.array([1]), 3, 0.6)])
    outputs[7, 1] = 0.95
    texts = np.array([f"text {k}" for k in range(501)], object)
    write_mistakes(tmp_path / "assets.extra" / "m", "multiclass", NAMES, texts, y, outputs)
    found = [orjson.loads(line) for line in (tmp_path / "assets.extra" / "m").read_bytes().splitlines()]
    assert (found[0]["example"], found[0]["input"]) == (7, "text 7")
    assert len(found) == MAX_PER_CELL + 1
    assert (found[-1]["expected"], found[-1]["received"]) == ("c", "b")


def test_the_file_of_mistakes_has_a_limit(tmp_path: Path) -> None:
    """However many kinds there are, and without kinds, too."""
    count = 2 * MAX_KEPT
    outputs = np.arange(count, dtype=float)[:, None]
    write_mistakes(tmp_path / "m", "regression", (), np.zeros((count, 1)), np.full(count, -1.0), outputs)
    lines = (tmp_path / "m").read_bytes().splitlines()
    assert (len(lines), orjson.loads(lines[0])["example"]) == (MAX_KEPT, count - 1)
    write_mistakes(tmp_path / "none", "custom", (), np.zeros((3, 1)), np.zeros(3), np.empty((3, 0)))
    assert (tmp_path / "none").read_bytes() == b""


def test_a_picture_is_made_smaller_by_means() -> None:
    """Of each four pixels, one; an odd last row is left out."""
    assert halve(np.array([[[0], [4]], [[8], [12]], [[99], [99]]], np.uint8)).tolist() == [[[6]]]


@pytest.mark.parametrize(
    ("task", "labels", "y", "outputs"),
    [
        ("multilabel", TAGS, np.array([[1, 0, 0]], np.float32), np.array([[0.2, 0.9, 0.1]], np.float32)),
        ("regression", (), np.array([1.0]), np.array([[2.0]])),
        ("text", (), np.array(["a"], object), np.array(["b"], object)),
        ("custom", (), np.array([1.0]), np.empty((1, 0))),
    ],
)
def test_every_task_is_described(task: str, labels: tuple[str, ...], y: np.ndarray, outputs: np.ndarray) -> None:
    """With one example."""
    found = describe_answers(task, labels, {}, Split(np.zeros((1, 2), np.float32), y), outputs)
    assert found.examples == 1
    assert type(found).model_validate_json(found.model_dump_json()) == found
