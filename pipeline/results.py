"""Results that stages pass to each other. Slim: stages share nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from modelyard.models.data import Split, Splits
from modelyard.models.registry.cards.data_card import DataCard
from modelyard.models.registry.manifest import validation_metrics
from modelyard.models.registry.reference import Reference
from modelyard.models.registry.uncertainty.record import UncertaintyRecord
from modelyard.models.types import Source


@dataclass(frozen=True)
class LoadedDataset:
    """A dataset in memory, and its origin."""

    name: str
    source: Source
    fingerprint: str
    """SHA-256 over the raw examples of every split, in order."""
    splits: Splits
    feedback: int = 0
    """Training examples that came from feedback."""
    recent: Split | None = None
    """The newest feedback, which training does not use."""
    card: DataCard | None = None
    """What the data holds, as it was checked."""


@dataclass(frozen=True)
class TrainedModel:
    """A fitted model on disk."""

    state: Path
    """State of preprocessing, as ``modelyard.pipeline.arrays`` saves it."""
    weights: Path
    """The weights to export, Keras ``.weights.h5``."""
    history: tuple[Mapping[str, float], ...]
    """Per epoch: loss and metrics on the training and (``val_``) validation split."""
    best_epoch: int
    """Epoch of the exported weights, counted from 1."""
    parameters: int
    cpu_s: float
    """Processor seconds (user + system) of every fitting step: preprocessing, compilation, training, validation."""
    wall_s: float
    seen: Path | None = None
    """Some training examples as fitting saw them, as ``save_split`` writes them; None: as the data has them."""
    started_from: int | None = None
    """The version whose weights training started from; None for random ones."""

    @property
    def validation(self) -> Mapping[str, float]:
        """Loss and metrics of the exported weights on the validation split."""
        return validation_metrics(self.history[self.best_epoch - 1]) if self.history else {}


class CalibrationBin(BaseModel):
    """Answers of about one confidence, and how many of them were right."""

    model_config = ConfigDict(frozen=True)

    confidence: float
    """Mean probability of the answers."""
    accuracy: float
    examples: int


class Mistake(BaseModel):
    """A wrong answer on the test split."""

    model_config = ConfigDict(frozen=True)

    example: int
    """Its place in the test split."""
    expected: Any
    received: Any
    score: float | None
    """The probability of the answer; None where there is none."""
    input: Any
    """Cut short; None if it is too large, ``{"png": base64}`` for an image."""


class ConfusedPair(BaseModel):
    """Wrong answers of one kind. Of several labels at once: a label that was missed, or given wrongly, and None."""

    model_config = ConfigDict(frozen=True)

    expected: str | None
    received: str | None
    count: int


class Curve(BaseModel):
    """Points of a curve, at most 100; each belongs to the answers whose probability reaches ``thresholds``."""

    model_config = ConfigDict(frozen=True)

    x: tuple[float, ...]
    y: tuple[float, ...]
    thresholds: tuple[float | None, ...]
    """None where no answer reaches it."""
    area: float
    """ROC AUC, or average precision."""


class ClassCurves(BaseModel):
    """One class against all others."""

    model_config = ConfigDict(frozen=True)

    positives: int
    """Examples of the class."""
    roc: Curve
    """True positive rate (recall) over false positive rate."""
    precision_recall: Curve
    """Precision over recall."""


class Residuals(BaseModel):
    """Errors of one predicted number: predicted less true, over bins of equal width."""

    model_config = ConfigDict(frozen=True)

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    below: int
    """Errors less than the first edge."""
    above: int
    bias: float
    """Mean error."""
    points: tuple[tuple[float, float], ...]
    """True and predicted values of some examples, at most 300."""


class Comparison(BaseModel):
    """The serving version on the same test split."""

    model_config = ConfigDict(frozen=True)

    version: int
    metrics: dict[str, float]
    per_class: dict[str, dict[str, float]] = Field(default_factory=dict)
    latency_ms: dict[str, float] = Field(default_factory=dict)
    mended: int | None = None
    """Examples that it answered wrongly and the new version rightly; None where no answer is right or wrong."""
    broken: int | None = None
    """Examples that it answered rightly and the new version wrongly."""


class Evaluation(BaseModel):
    """``evaluation.json``. Latencies are the median milliseconds of one call of ``serving_default`` in process."""

    model_config = ConfigDict(frozen=True)

    metrics: dict[str, float] = Field(default_factory=dict)
    """Those of the task (``modelyard.models.metrics``), and the model's own."""
    latency_ms: dict[str, float] = Field(default_factory=dict)
    """By batch size."""
    examples: int
    per_class: dict[str, dict[str, float]] = Field(default_factory=dict)
    """Precision, recall, F1 and support by label; of several numbers, the errors of each."""
    confusion: list[list[int]] = Field(default_factory=list)
    """Rows are true labels, columns predicted ones, in the order of the labels; empty above 100 of these."""
    confused: tuple[ConfusedPair, ...] = ()
    """The commonest kinds of wrong answers, at most 2,000."""
    wrong: int | None = None
    """Wrong answers; None where no answer is right or wrong."""
    calibration: tuple[CalibrationBin, ...] = ()
    mistakes: tuple[Mistake, ...] = ()
    """The 50 worst, the worst first; more of each kind are in a file of their own (``evaluation.mistakes``)."""
    curves: dict[str, ClassCurves] = Field(default_factory=dict)
    """By label: the second of two classes, all of a few, or those with the smallest F1."""
    residuals: dict[str, Residuals] = Field(default_factory=dict)
    """By name of the number; ``value`` if it has none."""
    champion: Comparison | None = None
    """None if nothing served, or what did cannot be measured on this test split."""
    golden_difference: float = 0.0
    """Maximum absolute difference between the trained model and the reloaded export."""
    reference: Reference = Reference()
    """Histograms of inputs and answers."""
    recent: dict[str, float] = Field(default_factory=dict)
    """Accuracy, or mean absolute error, on the newest feedback, if there is any."""
    uncertainty: UncertaintyRecord | None = None
    """What the version says of its uncertainty; it stands in a file of its own, and in the manifest."""


class Evaluations(BaseModel):
    """Evaluations of the new version (challenger) and of the serving one (champion), if there is one."""

    model_config = ConfigDict(frozen=True)

    challenger: Evaluation
    champion: Evaluation | None
    simplest: float | None = None
    """The gate's metric of the simplest answer: always the commonest class, or the mean of the training targets."""
