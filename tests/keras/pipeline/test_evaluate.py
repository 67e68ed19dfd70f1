"""Metrics against values worked out by hand."""

import numpy as np
import pytest

from modelyard.pipeline.stages.evaluate import compute_calibration_error, compute_metrics

PROBABILITIES = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7]], np.float32)
TRUTH = np.array([0, 1, 1, 1])


def test_a_classifier_is_scored_per_class_and_as_a_whole() -> None:
    """One of four is wrong: a positive taken for a negative."""
    found = compute_metrics("binary", ("negative", "positive"), TRUTH, PROBABILITIES)
    assert found["metrics"]["accuracy"] == 0.75
    assert found["metrics"]["roc_auc"] == 1.0
    assert found["metrics"]["loss"] == pytest.approx(-np.log([0.9, 0.4, 0.8, 0.7]).mean())
    assert found["confusion"] == [[1, 0], [1, 2]]
    assert found["per_class"]["negative"] == {"precision": 0.5, "recall": 1.0, "support": 1.0}
    assert found["per_class"]["positive"]["recall"] == pytest.approx(2 / 3)


def test_a_class_that_never_occurs_is_scored_without_a_warning() -> None:
    """Small test sets may lack one."""
    found = compute_metrics("multiclass", ("a", "b", "c"), np.array([0, 1]), np.eye(3)[:2])
    assert found["per_class"]["c"] == {"precision": 0.0, "recall": 0.0, "support": 0.0}


def test_calibration_error_is_the_mean_gap_between_confidence_and_accuracy() -> None:
    """Always 80 % sure and right in half of the cases: 0.3."""
    probabilities = np.tile([0.8, 0.2], (10, 1))
    assert compute_calibration_error(probabilities, np.array([0, 1] * 5)) == pytest.approx(0.3)
    assert compute_calibration_error(np.tile([1.0, 0.0], (4, 1)), np.zeros(4, int)) == 0


def test_a_regression_is_scored() -> None:
    """Perfect but for one value that is off by two."""
    found = compute_metrics("regression", (), np.array([0.0, 2.0, 4.0]), np.array([[0.0], [2.0], [6.0]]))
    assert found["metrics"]["mae"] == pytest.approx(2 / 3)
    assert found["metrics"]["r2"] == pytest.approx(0.5)
