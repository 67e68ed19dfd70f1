"""Prediction sets and intervals whose coverage is known: split conformal prediction.

Angelopoulos & Bates 2021, arXiv:2107.07511; sets by the probability of the label (LAC, Sadinle et al. 2019,
arXiv:1609.00451), which are the smallest on average. One may be empty: what is stated is the share of
sets that hold the truth, over all inputs.
"""

import math

import numpy as np

from modelyard.models.types import Array

PERCENTS = (95, 99)
"""Stated coverages."""
OUTSIDE = 100
"""What ``prediction_set`` has for a label that is in no set: only a set of all labels holds it."""
ROUNDING = 1e-6
"""By which a probability may differ in another batch."""


def find_threshold(probabilities: Array, y: Array, percent: int) -> float:
    """The probability from which a label is in the set; 0 where examples are too few to promise this coverage.

    Args:
        probabilities: ``[n,C]`` of calibration examples.
        y: their classes ``[n]``.
    """
    own = np.sort(probabilities[np.arange(len(y)), y].astype(np.float64))
    allowed = count_allowed(len(y), percent)
    return 0.0 if allowed < 1 else max(0.0, float(own[allowed - 1]) - ROUNDING)


def find_margins(values: Array, y: Array, percent: int) -> tuple[float, ...] | None:
    """Half widths of intervals, one for each number ``[n,K]``; None where examples are too few for this coverage."""
    errors = np.sort(np.abs(values.astype(np.float64) - y.reshape(values.shape)), axis=0)
    allowed = count_allowed(len(y), percent)
    return None if allowed < 1 else tuple(errors[len(y) - allowed].tolist())


def count_allowed(examples: int, percent: int) -> int:
    """The finite-sample quantile: of n examples and the next one, so many may lie at the threshold or beyond it."""
    return math.floor((examples + 1) * (100 - percent) / 100 + 1e-9)


def list_levels(probabilities: Array, thresholds: tuple[float, ...]) -> Array:
    """The smallest stated coverage whose set holds each label, ``int32 [n,C]``; ``OUTSIDE`` where none does."""
    found = np.full(probabilities.shape, OUTSIDE, np.int32)
    for percent, threshold in sorted(zip(PERCENTS, thresholds, strict=True), reverse=True):
        found[probabilities >= np.float32(threshold)] = percent
    return found
