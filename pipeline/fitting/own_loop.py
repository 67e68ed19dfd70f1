"""A model's own training loop: runs it, and keeps what it reports as the history of the training."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from modelyard.models.errors import ModelyardError
from modelyard.models.recipes import Recipe
from modelyard.models.sources.loading import describe_failure
from modelyard.models.spec import FitRun, ModelSpec, PreparedData
from modelyard.pipeline.errors import TrainingFailed
from modelyard.pipeline.fitting.checkpoint import Checkpoint, Checkpoints
from modelyard.pipeline.fitting.eta import EpochEstimate
from modelyard.pipeline.fitting.keras_loop import FitTimer
from modelyard.pipeline.job import Cancelled
from modelyard.pipeline.progress import Progress, Report


def run_own_loop(
    spec: ModelSpec, model: Any, prepared: PreparedData, recipe: Recipe, checkpoints: Checkpoints, report: Report
) -> Checkpoint:
    """Fits ``model`` by ``spec.fit``; its one checkpoint is written when the loop has ended.

    An attempt that finds that checkpoint does not train again.

    Raises:
        TrainingFailed: the loop fails, or leaves weights that are not finite.
    """
    assert spec.fit
    if (found := checkpoints.read_newest()).epoch:
        report(Progress("train", message="trained by an earlier attempt, from its checkpoint"))
        return found
    timer, history = FitTimer(), History(report, recipe.epochs)
    try:
        spec.fit(FitRun(model, prepared, recipe, history.add))
    except (ModelyardError, Cancelled):
        raise
    except Exception as error:
        assert spec.file
        raise TrainingFailed(describe_failure(error, spec.file)) from error
    require_finite(model)
    done = Checkpoint(history=tuple(history.epochs), cpu_s=timer.cpu_s, wall_s=timer.wall_s)
    checkpoints.write(model, {}, done, keep=True)
    return done


@dataclass
class History:
    """The metrics of each epoch that a loop reported."""

    report: Report
    expected: int
    epochs: list[dict[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._estimate = EpochEstimate(self.expected)

    def add(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Called by the loop at the end of an epoch; raises ``Cancelled`` if the job is."""
        values = {name: float(value) for name, value in metrics.items()}
        self.epochs.append(values)
        eta_s = self._estimate.end_epoch(epoch)
        planned = max(epoch, self.expected)
        self.report(Progress("train", epoch=epoch, epochs=planned, eta_s=eta_s and round(eta_s, 1), metrics=values))


def require_finite(model: Any) -> None:
    """Raises ``TrainingFailed`` for a weight that is NaN or infinite."""
    import keras

    for variable in model.weights:
        if not math.isfinite(float(keras.ops.sum(keras.ops.abs(keras.ops.cast(variable, "float32"))))):
            raise TrainingFailed(f"the training loop left weights that are not finite: {variable.path}")
