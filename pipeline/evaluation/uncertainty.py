"""What a version says of its uncertainty, checked on the test split."""

from collections.abc import Mapping

import numpy as np

from modelyard.models.registry.uncertainty.record import CoverageRecord, UncertaintyRecord
from modelyard.models.types import Array, Task
from modelyard.pipeline.calibrating.temperature import apply_temperature
from modelyard.pipeline.evaluation.calibration import measure_calibration_error


def measure_uncertainty(
    record: UncertaintyRecord, task: Task, y: Array, outputs: Mapping[str, Array]
) -> UncertaintyRecord:
    """The record with coverage, mean sizes, the share that is flagged, and the calibration error before.

    Args:
        y: targets of the test split.
        outputs: of ``serving_default``, by name.
    """
    found = record.model_copy(
        update={"coverage": tuple(measure_coverage(each, y, outputs) for each in record.coverage)}
    )
    if "typical" in outputs:
        flagged = float(1 - outputs["typical"].mean())
        found = found.model_copy(update={"typicality": record.typicality.model_copy(update={"flagged": flagged})})
    if task in ("multiclass", "binary") and "probabilities" in outputs:
        raw = apply_temperature(outputs["probabilities"], 1 / record.temperature)
        found = found.model_copy(update={"ece_before": measure_calibration_error(raw, y)})
    return found


def measure_coverage(each: CoverageRecord, y: Array, outputs: Mapping[str, Array]) -> CoverageRecord:
    """The share of true classes in their sets, and the sets' mean size; or of true numbers in their intervals."""
    if (levels := outputs.get("prediction_set")) is not None:
        inside = levels <= each.percent
        covered, size = inside[np.arange(len(y)), y].mean(), inside.sum(axis=1).mean()
        return each.model_copy(update={"covered": float(covered), "mean_size": float(size)})
    if (interval := outputs.get(f"interval_{each.percent}")) is not None:
        truth = y.reshape(interval.shape[:2])
        held = (interval[..., 0] <= truth) & (truth <= interval[..., 1])
        return each.model_copy(update={"covered": float(held.mean(axis=0).min())})
    return each
