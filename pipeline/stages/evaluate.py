"""Evaluates the exported version on the test split, reloaded in a process of its own.

The serving version (champion) is evaluated by the same code on the same data. The work is done by ``main``.
"""

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson

from modelyard.models.backend import use_backend
from modelyard.models.data import Split, list_rows
from modelyard.models.errors import ModelyardError
from modelyard.models.inputs import list_kinds
from modelyard.models.registry import evaluations
from modelyard.models.registry.reference import build_reference
from modelyard.models.registry.uncertainty.record import read_uncertainty
from modelyard.models.sources.loading import describe_failure, load_saved
from modelyard.models.spec import ModelSpec
from modelyard.models.types import Array, Task
from modelyard.pipeline import golden
from modelyard.pipeline.arrays import load_split, save_split
from modelyard.pipeline.errors import ExportRejected, StageFailed
from modelyard.pipeline.evaluation.calibration import list_calibration_bins
from modelyard.pipeline.evaluation.confusion import compute_confusion, find_wrong, list_confused
from modelyard.pipeline.evaluation.curves import compute_curves
from modelyard.pipeline.evaluation.exported import (
    Signature,
    choose_prediction,
    measure_golden_difference,
    measure_latency,
    predict_all,
    run_all,
)
from modelyard.pipeline.evaluation.metrics import compute_class_metrics, compute_metrics, measure_simplest
from modelyard.pipeline.evaluation.mistakes import list_mistakes, write_mistakes
from modelyard.pipeline.evaluation.residuals import list_residuals
from modelyard.pipeline.evaluation.uncertainty import measure_uncertainty
from modelyard.pipeline.processes.forkserver import ForkServer
from modelyard.pipeline.processes.stage_process import run_stage
from modelyard.pipeline.progress import Report
from modelyard.pipeline.results import Comparison, Evaluation, Evaluations

LATENCY_CALLS: Mapping[str, int] = {"1": 50, "32": 10}


@dataclass(frozen=True)
class EvaluateRequest:
    """Arguments of the evaluation process."""

    source: str
    """File of the model's source, for its own metrics."""
    task: Task
    labels: tuple[str, ...]
    kinds: Mapping[str, str]
    """Of inputs, by name."""
    metric: str
    """The gate's."""
    own_metrics: tuple[str, ...]
    test: str
    recent: str | None
    challenger: str
    champion: str | None
    result: str


def evaluate(
    spec: ModelSpec,
    source: Path,
    test: Split,
    recent: Split | None,
    challenger: Path,
    champion: Path | None,
    work: Path,
    forks: ForkServer,
    report: Report,
) -> Evaluations:
    """Evaluates an exported version, and the serving one, on ``test``, and on feedback if there is any.

    Args:
        source: what ``LoadedModel.save`` wrote.

    Raises:
        StageFailed: the export does not load, does not equal the model that was trained, or a metric is missing.
    """
    result = work / "evaluations.json"
    request = EvaluateRequest(
        source=str(source),
        task=spec.task,
        labels=spec.labels,
        kinds=list_kinds(spec.input),
        metric=spec.gate.metric,
        own_metrics=tuple(spec.metrics),
        test=save_split(work / "test.npz", test),
        recent=save_split(work / "recent.npz", recent) if recent else None,
        challenger=str(challenger),
        champion=str(champion) if champion else None,
        result=str(result),
    )
    request_path = work / "evaluate.json"
    request_path.write_bytes(orjson.dumps(request))
    run_stage("evaluate", __name__, str(request_path), forks, report)
    return Evaluations.model_validate_json(result.read_bytes())


# --- inside the evaluation process ------------------------------------------------------------------------------------


def main(request_path: str) -> None:
    try:
        evaluate_request(EvaluateRequest(**orjson.loads(Path(request_path).read_bytes())))
    except ModelyardError as error:
        sys.exit(str(error))


def evaluate_request(request: EvaluateRequest) -> None:
    split, folder = load_split(request.test), Path(request.challenger)
    measured, outputs = measure_version(request, folder, split, "the new version")
    described = describe_answers(request.task, request.labels, request.kinds, split, outputs)
    write_mistakes(folder / evaluations.MISTAKES_FILE, request.task, request.labels, split.x, split.y, outputs)
    challenger = described.model_copy(update={name: getattr(measured, name) for name in measured.model_fields_set})
    champion = None
    if request.champion:
        wrong = find_wrong(request.task, split.y, outputs)
        champion, outputs = measure_version(request, Path(request.champion), split, "the serving version")
        compared = compare(request, champion, wrong, find_wrong(request.task, split.y, outputs))
        challenger = challenger.model_copy(update={"champion": compared})
    found = Evaluations(
        challenger=challenger,
        champion=champion,
        simplest=measure_simplest(request.task, request.labels, split.y, request.metric),
    )
    Path(request.result).write_text(found.model_dump_json())


def compare(request: EvaluateRequest, champion: Evaluation, wrong: Array | None, its_wrong: Array | None) -> Comparison:
    """What the new version's record keeps of the serving one."""
    assert request.champion
    return Comparison(
        version=int(Path(request.champion).name),
        metrics=champion.metrics,
        per_class=champion.per_class,
        latency_ms=champion.latency_ms,
        mended=count_only_in(its_wrong, wrong),
        broken=count_only_in(wrong, its_wrong),
    )


def count_only_in(one: Array | None, other: Array | None) -> int | None:
    """Examples that are wrong in the one alone; None where nothing is right or wrong."""
    return None if one is None or other is None else int((one & ~other).sum())


def measure_version(request: EvaluateRequest, folder: Path, test: Split, who: str) -> tuple[Evaluation, Array]:
    """What is measured of the new version and of the serving one, and all predictions."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder))
    default = Signature(loaded.signatures["serving_default"])
    difference = measure_golden_difference(loaded, folder)
    if not difference <= golden.TOLERANCE:
        raise ExportRejected(
            f"{who} differs from the trained model by {difference:.2g}; allowed {golden.TOLERANCE:.0e}"
        )
    answers = run_all(default, test.x, who)
    outputs, record = choose_prediction(answers), read_uncertainty(folder)
    own = measure_own(request, default, test)
    metrics = compute_metrics(request.task, request.labels, test.y, outputs) | own
    found = Evaluation(
        examples=len(test),
        metrics=keep_finite(require_metric(request, metrics), who),
        per_class=compute_finite_class_metrics(request.task, request.labels, test.y, outputs),
        latency_ms={size: measure_latency(default, test.x, int(size), calls) for size, calls in LATENCY_CALLS.items()},
        golden_difference=difference,
        recent=evaluate_feedback(request, default, who),
        uncertainty=measure_uncertainty(record, request.task, test.y, answers) if record else None,
    )
    return found, outputs


def describe_answers(
    task: Task, labels: tuple[str, ...], kinds: Mapping[str, str], test: Split, outputs: Array
) -> Evaluation:
    """All that is known of the answers beside the metrics."""
    per_class = compute_finite_class_metrics(task, labels, test.y, outputs)
    wrong = find_wrong(task, test.y, outputs)
    return Evaluation(
        examples=len(test),
        per_class=per_class,
        confusion=compute_confusion(task, labels, test.y, outputs),
        confused=tuple(list_confused(task, labels, test.y, outputs)),
        wrong=None if wrong is None else int(wrong.sum()),
        calibration=tuple(list_calibration_bins(outputs, test.y)) if task in ("multiclass", "binary") else (),
        mistakes=tuple(list_mistakes(task, labels, test.x, test.y, outputs)),
        curves=compute_curves(task, labels, test.y, outputs, per_class),
        residuals=dict(list_residuals(task, labels, test.y, outputs)),
        reference=build_reference(labels, list_rows(test.x), extract_predictions(task, outputs), kinds),
    )


def measure_own(request: EvaluateRequest, signature: Signature, test: Split) -> dict[str, float]:
    """Metrics of the model's own ``evaluate``.

    Raises:
        ModelyardError: it does not return the metrics that it declares, or fails.
    """
    if not request.own_metrics:
        return {}
    use_backend("tensorflow")
    spec = load_saved(Path(request.source)).spec
    assert spec.evaluate
    try:
        found = {name: float(value) for name, value in spec.evaluate(signature, test).items()}
    except Exception as error:
        assert spec.file
        raise StageFailed(describe_failure(error, spec.file)) from error
    if set(found) != set(request.own_metrics):
        raise StageFailed(
            f"evaluate: expected the metrics {', '.join(request.own_metrics)}, received {', '.join(found) or 'none'}"
        )
    return found


def require_metric(request: EvaluateRequest, metrics: dict[str, float]) -> dict[str, float]:
    """Raises ``StageFailed`` if the gate's metric could not be measured on this test split."""
    if request.metric not in metrics:
        raise StageFailed(
            f"gate: {request.metric} cannot be measured on this test split: it lacks a class; measured: "
            f"{', '.join(metrics)}"
        )
    return metrics


def keep_finite(metrics: Mapping[str, float], who: str) -> dict[str, float]:
    """Without those that are no finite numbers, which JSON has no form for: the log names them.

    The gate rejects a version that lacks its metric.
    """
    for name, value in metrics.items():
        if not math.isfinite(value):
            sys.stderr.write(f"warning: {name} of {who} is {value}, which is no finite number: it is left out\n")
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def compute_finite_class_metrics(
    task: Task, labels: tuple[str, ...], y: Array, outputs: Array
) -> dict[str, dict[str, float]]:
    """Metrics by class, without those that are no finite numbers: nothing can be told of a class by too few rows."""
    found = compute_class_metrics(task, labels, y, outputs)
    return {
        label: {name: value for name, value in values.items() if math.isfinite(value)}
        for label, values in found.items()
    }


def extract_predictions(task: Task, outputs: Array) -> dict[str, Array]:
    """Named predictions for the reference of drift, ``[N]`` each."""
    if task == "regression":
        return {"value": outputs[:, 0]}
    if task == "multilabel":
        return {"score": outputs.max(axis=1)}
    return (
        {"class_id": outputs.argmax(axis=1), "score": outputs.max(axis=1)} if outputs.ndim > 1 and outputs.size else {}
    )


def evaluate_feedback(request: EvaluateRequest, signature: Signature, who: str) -> dict[str, float]:
    """The first metrics of the task on the newest feedback; empty if there is none."""
    if request.recent is None:
        return {}
    recent = load_split(request.recent)
    outputs = predict_all(signature, recent.x, f"{who} on feedback")
    if request.task == "regression":
        return {"mae": float(np.abs(outputs[:, 0] - recent.y).mean())}
    return {"accuracy": float((outputs.argmax(axis=1) == recent.y).mean())}
