"""Prediction sets and intervals keep what they state: on data that were not calibrated on, whatever the model."""

import numpy as np
import pytest

from modelyard.pipeline.calibrating.conformal import (
    OUTSIDE,
    count_allowed,
    find_margins,
    find_threshold,
    list_levels,
)

SEEDS = 400


def draw(random: np.random.Generator, count: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of an overconfident model, and classes."""
    logits = random.normal(0, 2, (count, classes))
    truth = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    y = (truth.cumsum(axis=1) > random.random((count, 1))).argmax(axis=1)
    sure = np.exp(3 * logits)
    return (sure / sure.sum(axis=1, keepdims=True)).astype(np.float32), y


@pytest.mark.parametrize(("percent", "calibration"), [(95, 19), (95, 200), (99, 99), (99, 500)])
def test_sets_hold_the_truth_as_often_as_they_state(percent: int, calibration: int) -> None:
    """On average over calibration splits at least as stated, and not by much more; also of a badly calibrated model."""
    covered = []
    for seed in range(SEEDS):
        random = np.random.default_rng(seed)
        threshold = find_threshold(*draw(random, calibration, 4), percent)
        probabilities, y = draw(random, 500, 4)
        covered.append((probabilities[np.arange(500), y] >= threshold).mean())
    assert percent / 100 - 0.005 <= np.mean(covered) <= percent / 100 + 1 / (calibration + 1) + 0.005


@pytest.mark.parametrize(("percent", "calibration"), [(95, 60), (99, 300)])
def test_intervals_hold_the_truth_as_often_as_they_state(percent: int, calibration: int) -> None:
    """Each of two numbers, with errors of another size."""
    covered = []
    for seed in range(SEEDS):
        random = np.random.default_rng(seed)
        y, values = (random.standard_t(3, (calibration + 500, 2)) * [1, 5] for _ in range(2))
        margins = find_margins(values[:calibration], y[:calibration], percent)
        covered.append((np.abs(values - y)[calibration:] <= margins).mean(axis=0))
    low, high = percent / 100 - 0.005, percent / 100 + 1 / (calibration + 1) + 0.005
    assert (low <= np.mean(covered, axis=0)).all()
    assert (np.mean(covered, axis=0) <= high).all()


@pytest.mark.parametrize(("percent", "enough"), [(95, 19), (99, 99)])
def test_too_few_examples_promise_nothing(percent: int, enough: int) -> None:
    """Then a set has all labels, and there is no interval."""
    probabilities, y = draw(np.random.default_rng(0), enough, 3)
    assert find_threshold(probabilities, y, percent) > 0
    assert find_threshold(probabilities[1:], y[1:], percent) == 0
    assert find_margins(probabilities[:, :1], y, percent) is not None
    assert find_margins(probabilities[1:, :1], y[1:], percent) is None
    assert count_allowed(0, percent) == 0


def test_levels_are_the_smallest_coverage_that_holds_a_label() -> None:
    """Sets are nested: what is in that of 95 % is in that of 99 %."""
    levels = list_levels(np.array([[0.9, 0.06, 0.04]], np.float32), (0.5, 0.05))
    assert levels.tolist() == [[95, 99, OUTSIDE]]
