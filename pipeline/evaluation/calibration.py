"""Whether probabilities are right as often as they say (Guo et al. 2017, arXiv:1706.04599)."""

from collections.abc import Iterator

import numpy as np

from modelyard.models.types import Array
from modelyard.pipeline.results import CalibrationBin

BINS = 15


def list_calibration_bins(probabilities: Array, y: Array) -> Iterator[CalibrationBin]:
    """Confidence and accuracy of the likeliest class, over bins of equal width that hold an example."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == y
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    for k in np.unique(bins):
        inside = bins == k
        yield CalibrationBin(
            confidence=float(confidence[inside].mean()),
            accuracy=float(right[inside].mean()),
            examples=int(inside.sum()),
        )


def measure_calibration_error(probabilities: Array, y: Array) -> float:
    """Expected calibration error: the mean gap between confidence and accuracy over the bins."""
    bins = list_calibration_bins(probabilities, y)
    return float(sum(abs(each.accuracy - each.confidence) * each.examples / len(y) for each in bins))
