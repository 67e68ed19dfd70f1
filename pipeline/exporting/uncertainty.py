"""Learns a trained model's uncertainty, and adds it to its outputs inside the graph. TensorFlow code."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf

from modelyard.models.data import Split
from modelyard.models.registry.uncertainty.record import CoverageRecord, TypicalityRecord, UncertaintyRecord
from modelyard.models.spec import ModelSpec
from modelyard.models.types import Array, Task
from modelyard.pipeline.calibrating.conformal import OUTSIDE, PERCENTS, find_margins, find_threshold
from modelyard.pipeline.calibrating.temperature import SMALLEST, apply_temperature, fit_temperature
from modelyard.pipeline.exporting.forward import Forward
from modelyard.pipeline.exporting.typicality import Typicality, learn_typicality

Outputs = dict[str, Any]
CLASSES = ("multiclass", "binary")


@dataclass(frozen=True)
class CalibrationExamples:
    """Raw examples that uncertainty is learned from."""

    calibration: Split
    """Neither weights nor the epoch were chosen on them."""
    typical: Any
    """``Inputs``: these first, then parts of texts, which are no less typical for being short."""
    train: Split
    """Some of the training examples as fitting saw them; of texts parts as well."""


@dataclass(frozen=True)
class Uncertainty:
    """What a version says beside its answer."""

    task: Task
    record: UncertaintyRecord
    typicality: Typicality
    shares: Array | None = None
    """Share of each class in training, ``[C]``: the answer to a text without a known word."""

    def name_outputs(self, raw: Any, observed: dict[str, Any]) -> Outputs:
        """The task's outputs with calibrated probabilities; ``prediction_set`` or ``interval_…``; ``typical``."""
        outputs = name_outputs(self.task, raw, self.record.temperature)
        if self.shares is not None and "words" in observed:
            outputs = self._lean_on_words(outputs, observed["words"])
        if self.task in CLASSES and self.record.coverage:
            outputs["prediction_set"] = list_levels(outputs["probabilities"], self.record)
        if self.task == "regression":
            for each in self.record.coverage:
                margins = np.array(each.margins, np.float32)
                ends = [outputs["value"] - margins, outputs["value"] + margins]
                outputs[f"interval_{each.percent}"] = tf.stack(ends, axis=-1)
        atypicality = self.typicality.measure(observed or {"raw": raw})
        return outputs | {"typical": atypicality <= 1.0, "atypicality": atypicality}

    def lean_logits(self, logits: Any, words: Any) -> Any:
        """Logits ``float32 [N,C]`` of what is answered to texts of so few known words; where they are enough, as given.

        Args:
            words: known and unknown ones, ``float32 [N,2]``.
        """
        scale = self.record.temperature
        answered = self._lean_on_words({"probabilities": tf.nn.softmax(logits / scale)}, words)["probabilities"]
        is_enough = find_weight(words) >= 1.0
        return tf.where(is_enough, logits, tf.math.log(tf.maximum(answered, SMALLEST)) * scale)

    def _lean_on_words(self, outputs: Outputs, words: Any) -> Outputs:
        """The fewer words are known, below half of them, the closer to the classes' shares in training.

        What a network makes of nothing would be as sure as it happens.
        """
        assert self.shares is not None
        weight = find_weight(words)
        own = tf.math.multiply_no_nan(outputs["probabilities"], weight)  # a mean over no word is no number
        return outputs | name_classes(own + (1 - weight) * self.shares)


def find_weight(words: Any) -> Any:
    """``float32 [N,1]`` of the model's own answer: 1 where half of the words are known, 0 where none is."""
    return tf.minimum(2 * words[:, :1] / tf.maximum(tf.reduce_sum(words, axis=1, keepdims=True), 1.0), 1.0)


def name_outputs(task: Task, raw: Any, temperature: float = 1.0) -> Outputs:
    """``probabilities`` float32 [N,C], with ``class_id`` int64 [N] if one is right; ``value`` float32 [N,K]."""
    if task == "regression":
        return {"value": raw}
    if task == "multilabel":
        return {"probabilities": raw}
    if temperature != 1.0:
        raw = soften(task, raw, temperature)
    return name_classes(raw if task == "multiclass" else tf.concat([1.0 - raw, raw], axis=1))


def soften(task: Task, raw: Any, temperature: float) -> Any:
    """What a model answers, with its logits divided by a temperature."""
    # Keras notes at its softmax and sigmoid what they were given; of other models the logarithm is taken.
    logits = getattr(raw, "_keras_logits", None)
    if task == "multiclass":
        logits = tf.math.log(tf.maximum(raw, SMALLEST)) if logits is None else tf.cast(logits, tf.float32)
        return tf.nn.softmax(logits / temperature)
    if logits is None:
        return tf.nn.softmax(tf.math.log(tf.maximum(tf.concat([1.0 - raw, raw], 1), SMALLEST)) / temperature)[:, 1:]
    return tf.sigmoid(tf.cast(logits, tf.float32) / temperature)


def name_classes(probabilities: Any) -> Outputs:
    return {"probabilities": probabilities, "class_id": tf.argmax(probabilities, axis=1, output_type=tf.int64)}


def list_levels(probabilities: Any, record: UncertaintyRecord) -> Any:
    """``int32 [N,C]``: the smallest stated coverage whose set holds the label; ``OUTSIDE`` where none does.

    Sets are nested, so it is told by how many of them hold it: by how many thresholds are not above its probability.
    """
    thresholds = sorted(float(np.float32(each.threshold)) for each in record.coverage)
    percents = sorted((each.percent for each in record.coverage), reverse=True)
    holding = tf.raw_ops.Bucketize(input=probabilities, boundaries=thresholds)
    return tf.gather(tf.constant([OUTSIDE, *percents]), holding)


# --- learning ---------------------------------------------------------------------------------------------------------


def learn_uncertainty(
    spec: ModelSpec, forward: Forward, signature: list[Any], examples: CalibrationExamples
) -> Uncertainty:
    """Runs the model on calibration and training examples.

    Args:
        signature: ``tf.TensorSpec`` of the raw inputs.
    """
    calibration = examples.calibration

    def run(x: Any) -> Observations:
        return Observations(*forward.run(spec, x, signature))

    typical = run(examples.typical) if len(calibration) else Observations(np.zeros((0, 1)), {})
    calibrating = typical.is_finite[: len(calibration)]
    raw = typical.outputs[: len(calibration)][calibrating]
    record = learn_answers(spec, raw, calibration.y[calibrating])
    if not len(raw) or not len(examples.train):
        return Uncertainty(spec.task, record.model_copy(update=add_notes(record, typical)), Typicality())
    train = run(examples.train.x)
    observed = train.finite
    y = examples.train.y[train.is_finite] if spec.task in CLASSES else None
    typicality = learn_typicality(observed, y, typical.finite) if observed else Typicality()
    methods = TypicalityRecord(
        methods=tuple(part.method for part in typicality.parts),
        layer=forward.layer if "features" in observed else "",
        examples=int(train.is_finite.sum()),
    )
    notes = () if typicality.parts else ("nothing to tell typical inputs by: every input is typical",)
    record = record.model_copy(update={"typicality": methods} | add_notes(record, typical, *notes))
    return Uncertainty(spec.task, record, typicality, None if y is None else measure_shares(y, raw))


@dataclass(frozen=True)
class Observations:
    """What a model made of some examples."""

    outputs: Array
    observed: dict[str, Array]

    @cached_property
    def is_finite(self) -> Array:
        """``bool [N]``: examples of which each number is finite; a mean over no word, for one, is not."""
        numbers = [each for each in (self.outputs, *self.observed.values()) if each.dtype.kind == "f"]
        rows = [np.isfinite(each.reshape(len(each), -1)).all(axis=1) for each in numbers]
        found: Array = np.all(rows, axis=0)
        return found

    @property
    def finite(self) -> dict[str, Array]:
        """``observed`` of these."""
        return {name: values[self.is_finite] for name, values in self.observed.items()}


def add_notes(record: UncertaintyRecord, typical: Observations, *notes: str) -> dict[str, tuple[str, ...]]:
    lost = len(typical.is_finite) - int(typical.is_finite.sum())
    left_out = (f"{lost} of {len(typical.is_finite)} examples are left out: no finite answer",) if lost else ()
    return {"notes": (*record.notes, *left_out, *notes)}


def measure_shares(y: Array, raw: Array) -> Array:
    """``float32 [C]``: how often each class occurs in training."""
    counts = np.bincount(y, minlength=max(raw.shape[1], 2))
    shares: Array = (counts / counts.sum()).astype(np.float32)
    return shares


def learn_answers(spec: ModelSpec, raw: Array, y: Array) -> UncertaintyRecord:
    """Temperature and coverage, by the model's outputs for the calibration examples."""
    empty = UncertaintyRecord(examples=len(y))
    if spec.task == "regression":
        return add_intervals(empty, raw, y)
    return add_sets(empty, spec, raw, y) if spec.task in CLASSES else empty


def add_sets(record: UncertaintyRecord, spec: ModelSpec, raw: Array, y: Array) -> UncertaintyRecord:
    if not len(y):
        return record
    probabilities = raw if spec.task == "multiclass" else np.concatenate([1 - raw, raw], axis=1)
    temperature = fit_temperature(probabilities, y)
    if temperature != 1:
        probabilities = apply_temperature(probabilities, temperature)
    thresholds = {percent: find_threshold(probabilities, y, percent) for percent in PERCENTS}
    few = [percent for percent, threshold in thresholds.items() if not threshold]
    return record.model_copy(
        update={
            "temperature": temperature,
            "coverage": tuple(CoverageRecord(percent=each, threshold=value) for each, value in thresholds.items()),
            "notes": tuple(f"{len(y)} calibration examples are too few: sets of {each} % hold all" for each in few),
        }
    )


def add_intervals(record: UncertaintyRecord, values: Array, y: Array) -> UncertaintyRecord:
    margins = {percent: find_margins(values, y, percent) for percent in PERCENTS} if len(y) else {}
    few = [percent for percent in PERCENTS if margins.get(percent) is None]
    return record.model_copy(
        update={
            "coverage": tuple(CoverageRecord(percent=each, margins=found) for each, found in margins.items() if found),
            "notes": tuple(f"{len(y)} calibration examples are too few for intervals of {each} %" for each in few),
        }
    )
