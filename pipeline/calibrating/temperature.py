"""One number that makes probabilities as sure as they are right: the temperature (Guo et al. 2017, arXiv:1706.04599).

Probabilities are raised to 1/T and normalised, which is what dividing logits by T does; so it works for any model that
ends in probabilities.
"""

import numpy as np

from modelyard.models.types import Array

SMALLEST = 1e-30
"""In place of a probability of 0, whose logarithm is none; above the smallest number of 32 bits."""
RANGE = (0.1, 10.0)
ENOUGH = 50
"""Examples below which it stays at 1."""


def apply_temperature(probabilities: Array, temperature: float) -> Array:
    """Probabilities ``[n,C]`` that sum to 1, made softer by a temperature above 1."""
    logits = np.log(np.maximum(probabilities.astype(np.float64), SMALLEST)) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    found: Array = powers / powers.sum(axis=1, keepdims=True)
    return found


def fit_temperature(probabilities: Array, y: Array) -> float:
    """The temperature of the least log loss on calibration examples; 1 where they are too few.

    Where every example is right, the surest would be the best. So each counts as wrong with a weight of 1 in n + 2, as
    Platt (1999) does: one error among all of them is always to be reckoned with.

    Args:
        probabilities: ``[n,C]``.
        y: classes ``[n]``.
    """
    from scipy.optimize import minimize_scalar

    count, classes = probabilities.shape
    if count < ENOUGH:
        return 1.0
    targets = np.full((count, classes), 1 / (count + 2) / (classes - 1))
    targets[np.arange(count), y] = (count + 1) / (count + 2)

    def loss(log_temperature: float) -> float:
        found = apply_temperature(probabilities, float(np.exp(log_temperature)))
        return float(-(targets * np.log(np.maximum(found, SMALLEST))).sum(axis=1).mean())

    best = minimize_scalar(loss, bounds=np.log(RANGE), method="bounded", options={"xatol": 1e-3})
    return round(float(np.exp(best.x)), 4)
