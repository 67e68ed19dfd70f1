"""Evaluates the exported version on the test split, reloaded in a process of its own.

The serving version (champion) is evaluated by the same code on the same data. The work is done by ``main``.
"""

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
from modelyard.models.registry.reference import build_reference
from modelyard.models.sources.loading import describe_failure, load_saved
from modelyard.models.spec import ModelSpec
from modelyard.models.types import Array, Task
from modelyard.pipeline import golden
from modelyard.pipeline.arrays import load_arrays, save_arrays
from modelyard.pipeline.errors import ExportRejected, StageFailed
from modelyard.pipeline.evaluation.calibration import list_calibration_bins
from modelyard.pipeline.evaluation.exported import Signature, measure_golden_difference, measure_latency, predict_all
from modelyard.pipeline.evaluation.metrics import (
    compute_class_metrics,
    compute_confusion,
    compute_metrics,
    measure_simplest,
)
from modelyard.pipeline.evaluation.mistakes import list_mistakes
from modelyard.pipeline.processes.forkserver import ForkServer
from modelyard.pipeline.processes.stage_process import run_stage
from modelyard.pipeline.progress import Report
from modelyard.pipeline.results import Evaluation, Evaluations

X, Y = "x", "y"
"""Names of inputs and targets in a file of examples."""
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
    split = read_split(request.test)
    challenger = evaluate_version(request, Path(request.challenger), split, "the new version")
    champion = (
        evaluate_version(request, Path(request.champion), split, "the serving version") if request.champion else None
    )
    found = Evaluations(
        challenger=challenger,
        champion=champion,
        simplest=measure_simplest(request.task, request.labels, split.y, request.metric),
    )
    Path(request.result).write_text(found.model_dump_json())


def save_split(path: Path, split: Split) -> str:
    """Writes inputs and targets; inputs by name as ``x/name``."""
    named = (
        {f"{X}/{name}": values for name, values in split.x.items()} if isinstance(split.x, Mapping) else {X: split.x}
    )
    return str(save_arrays(path, {**named, Y: split.y}))


def read_split(file: str) -> Split:
    """Reads what ``save_split`` wrote."""
    found = load_arrays(Path(file))
    y = found.pop(Y)
    return Split(found[X] if X in found else {name.removeprefix(f"{X}/"): values for name, values in found.items()}, y)


def evaluate_version(request: EvaluateRequest, folder: Path, test: Split, who: str) -> Evaluation:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder))
    default = Signature(loaded.signatures["serving_default"])
    difference = measure_golden_difference(loaded, folder)
    if not difference <= golden.TOLERANCE:
        raise ExportRejected(
            f"{who} differs from the trained model by {difference:.2g}; allowed {golden.TOLERANCE:.0e}"
        )
    outputs = predict_all(default, test.x, who)
    own = measure_own(request, default, test)
    return describe_answers(request.task, request.labels, request.kinds, test, outputs).model_copy(
        update={
            "metrics": require_metric(request, compute_metrics(request.task, request.labels, test.y, outputs) | own),
            "latency_ms": {
                size: measure_latency(default, test.x, int(size), calls) for size, calls in LATENCY_CALLS.items()
            },
            "golden_difference": difference,
            "recent": evaluate_feedback(request, default, who),
        }
    )


def describe_answers(
    task: Task, labels: tuple[str, ...], kinds: Mapping[str, str], test: Split, outputs: Array
) -> Evaluation:
    """All that is known of the answers beside the metrics."""
    return Evaluation(
        examples=len(test),
        per_class=compute_class_metrics(task, labels, test.y, outputs),
        confusion=compute_confusion(task, labels, test.y, outputs),
        calibration=tuple(list_calibration_bins(outputs, test.y)) if task in ("multiclass", "binary") else (),
        mistakes=tuple(list_mistakes(task, labels, test.x, test.y, outputs)),
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


def extract_predictions(task: Task, outputs: Array) -> dict[str, Array]:
    """Named predictions for the reference of drift, ``[N]`` each."""
    if task == "regression":
        return {"value": outputs[:, 0]}
    if task == "multilabel":
        return {"score": outputs.max(axis=1)}
    return {"class_id": outputs.argmax(axis=1), "score": outputs.max(axis=1)} if outputs.ndim > 1 else {}


def evaluate_feedback(request: EvaluateRequest, signature: Signature, who: str) -> dict[str, float]:
    """The first metrics of the task on the newest feedback; empty if there is none."""
    if request.recent is None:
        return {}
    recent = read_split(request.recent)
    outputs = predict_all(signature, recent.x, f"{who} on feedback")
    if request.task == "regression":
        return {"mae": float(np.abs(outputs[:, 0] - recent.y).mean())}
    return {"accuracy": float((outputs.argmax(axis=1) == recent.y).mean())}
