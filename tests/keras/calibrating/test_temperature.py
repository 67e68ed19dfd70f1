"""One temperature for all answers of a version."""

import numpy as np
import pytest

from modelyard.pipeline.calibrating.temperature import apply_temperature, fit_temperature


def test_temperature_makes_probabilities_as_sure_as_they_are_right() -> None:
    """It finds the factor that logits were multiplied by, and is careful where nothing was wrong."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (4000, 5))
    truth = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    y = (truth.cumsum(axis=1) > random.random((4000, 1))).argmax(axis=1)
    for factor in (0.5, 2.0):
        distorted = apply_temperature(truth, 1 / factor)
        assert fit_temperature(distorted, y) == pytest.approx(factor, rel=0.06)
        np.testing.assert_allclose(apply_temperature(distorted, factor), truth, atol=1e-6)
    assert fit_temperature(np.tile([0.9, 0.1], (100, 1)), np.zeros(100, int)) > 0.3
    assert fit_temperature(truth[:20], y[:20]) == 1
