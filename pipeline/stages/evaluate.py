"""Evaluates the exported version on the test split, reloaded in a process of its own.

The serving version (champion) is evaluated by the same code on the same data. The work is done by ``main``.
"""

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from modelyard.models.data import Inputs, Split, count_examples, list_rows, take
from modelyard.models.errors import ModelyardError
from modelyard.models.registry.reference import build_reference
from modelyard.models.spec import ModelSpec
from modelyard.models.types import Array, Task
from modelyard.pipeline import golden
from modelyard.pipeline.arrays import load_arrays, save_arrays
from modelyard.pipeline.errors import ExportRejected
from modelyard.pipeline.forkserver import ForkServer
from modelyard.pipeline.golden import find_output, input_key, load_golden, max_difference
from modelyard.pipeline.progress import Progress, Report
from modelyard.pipeline.results import Evaluation, Evaluations
from modelyard.pipeline.stage_process import print_progress, run_stage

X, Y = "x", "y"
"""Names of inputs and targets in a file of examples."""
BATCH = 128
ECE_BINS = 15
PREDICTIONS = ("probabilities", "value", "text")
"""Outputs that are compared with the targets: the one that a task has."""
LATENCY_CALLS: Mapping[str, int] = {"1": 50, "32": 10}


@dataclass(frozen=True)
class EvaluateRequest:
    """Arguments of the evaluation process."""

    task: Task
    labels: tuple[str, ...]
    test: str
    recent: str | None
    challenger: str
    champion: str | None
    result: str


def evaluate(
    spec: ModelSpec,
    test: Split,
    recent: Split | None,
    challenger: Path,
    champion: Path | None,
    work: Path,
    forks: ForkServer,
    report: Report,
) -> Evaluations:
    """Evaluates an exported version, and the serving one, on ``test``, and on feedback if there is any.

    Raises:
        StageFailed: the export does not load, or does not equal the model that was trained.
    """
    result = work / "evaluations.json"
    request = EvaluateRequest(
        task=spec.task,
        labels=spec.labels,
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
    Path(request.result).write_text(Evaluations(challenger=challenger, champion=champion).model_dump_json())


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
    latency_ms = {size: measure_latency(default, test.x, int(size), calls) for size, calls in LATENCY_CALLS.items()}
    return Evaluation(
        **compute_metrics(request.task, request.labels, test.y, outputs),
        latency_ms=latency_ms,
        examples=len(test),
        reference=build_reference(
            request.task, request.labels, list_rows(test.x), extract_predictions(request.task, outputs)
        ),
        golden_difference=difference,
        recent=evaluate_feedback(request, default, who),
    )


def extract_predictions(task: Task, outputs: Array) -> dict[str, Array]:
    """Named predictions from probabilities ``[N,C]`` or values ``[N,1]``, for the reference of drift."""
    if task == "regression":
        return {"value": outputs[:, 0]}
    return {"class_id": outputs.argmax(axis=1), "score": outputs.max(axis=1)}


def evaluate_feedback(request: EvaluateRequest, signature: "Signature", who: str) -> dict[str, float]:
    """Metrics on the newest feedback; empty if there is none."""
    if request.recent is None:
        return {}
    recent = read_split(request.recent)
    outputs = predict_all(signature, recent.x, f"{who} on feedback")
    if request.task == "regression":
        return {"mae": float(np.abs(outputs[:, 0] - recent.y).mean())}
    return {"accuracy": float((outputs.argmax(axis=1) == recent.y).mean())}


class Signature:
    """A loaded signature: a function from raw inputs to named arrays."""

    def __init__(self, function: Any) -> None:
        self._function = function
        self.inputs: dict[str, Any] = dict(function.structured_input_signature[1])
        """``tf.TensorSpec`` by name."""

    def __call__(self, batch: Inputs) -> dict[str, Array]:
        """``batch``: numbers, or texts as ``str`` or ``bytes``; of several inputs by name."""
        named = batch if isinstance(batch, Mapping) else dict.fromkeys(self.inputs, batch)
        given = {name: self._to_tensor(named[name], spec.dtype) for name, spec in self.inputs.items()}
        return {name: value.numpy() for name, value in self._function(**given).items()}

    def _to_tensor(self, array: Array, dtype: Any) -> Any:
        import tensorflow as tf

        return tf.constant(array.tolist(), dtype) if array.dtype == object else tf.constant(array, dtype)


def measure_golden_difference(loaded: Any, folder: Path) -> float:
    """Maximum absolute difference of any output from the golden one, over all signatures."""
    golden_arrays = load_golden(folder)
    worst = 0.0
    for name, function in loaded.signatures.items():
        signature = Signature(function)
        outputs = signature({key: golden_arrays[input_key(name, key)] for key in signature.inputs})
        gaps = (max_difference(value, find_output(golden_arrays, name, out)) for out, value in outputs.items())
        worst = max(worst, *gaps)
    return worst


def predict_all(signature: Signature, x: Inputs, who: str) -> Array:
    """Probabilities ``[N,C]``, values ``[N,K]`` or texts ``[N]`` of every example, in order.

    Texts are batched by length, so that a batch is padded to its own longest text only.
    """
    count, order = count_examples(x), sort_by_length(x)
    parts = []
    for start in range(0, count, BATCH):
        outputs = signature(take(x, order[start : start + BATCH]))
        parts.append(next(outputs[name] for name in PREDICTIONS if name in outputs))
        if start // BATCH % 16 == 0:
            print_progress(Progress("evaluate", message=f"testing {who}", step=start, steps=count))
    predicted = np.concatenate(parts)
    result = np.empty_like(predicted)
    result[order] = predicted
    return result


def sort_by_length(x: Inputs) -> Array:
    """Indices that sort single texts by length; the order as it is for other inputs."""
    if isinstance(x, Mapping) or x.dtype != object:
        return np.arange(count_examples(x))
    return np.argsort([len(text) for text in x], kind="stable")


def measure_latency(signature: Signature, x: Inputs, size: int, calls: int) -> float:
    """Median milliseconds of one call with ``size`` examples of median length."""
    middle = max(0, count_examples(x) // 2 - size // 2)
    batch = take(x, sort_by_length(x)[middle : middle + size])
    return measure_median_ms(lambda: signature(batch), calls)


def measure_median_ms(call: Callable[[], object], calls: int) -> float:
    """Median milliseconds of a call, after one for warm-up."""
    call()
    times = []
    for _ in range(calls):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return float(np.median(times) * 1e3)


def compute_metrics(task: Task, labels: tuple[str, ...], y: Array, outputs: Array) -> dict[str, Any]:
    """Metrics of predictions ``[N,C]`` or ``[N,1]`` against targets ``[N]``, as fields of ``Evaluation``."""
    from sklearn import metrics as sk

    if task == "regression":
        value = outputs[:, 0]
        errors = {"mae": sk.mean_absolute_error(y, value), "rmse": sk.root_mean_squared_error(y, value)}
        return {"metrics": {"r2": float(sk.r2_score(y, value))} | {name: float(v) for name, v in errors.items()}}
    ids = np.arange(len(labels))
    predicted = outputs.argmax(axis=1)
    found = {
        "accuracy": float((predicted == y).mean()),
        "loss": float(-np.log(np.clip(outputs[np.arange(len(y)), y], 1e-7, 1)).mean()),
        "ece": compute_calibration_error(outputs, y),
    }
    if task == "binary":
        found["roc_auc"] = float(sk.roc_auc_score(y, outputs[:, 1]))
    precision, recall, _, support = sk.precision_recall_fscore_support(y, predicted, labels=ids, zero_division=0)
    return {
        "metrics": found,
        "per_class": {
            label: {"precision": float(precision[k]), "recall": float(recall[k]), "support": float(support[k])}
            for k, label in enumerate(labels)
        },
        "confusion": sk.confusion_matrix(y, predicted, labels=ids).tolist(),
    }


def compute_calibration_error(probabilities: Array, y: Array) -> float:
    """Expected calibration error of the top class over equal-width bins (Guo et al. 2017, arXiv:1706.04599)."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == y
    bins = np.minimum((confidence * ECE_BINS).astype(int), ECE_BINS - 1)
    gaps = [abs(right[bins == k].mean() - confidence[bins == k].mean()) * (bins == k).mean() for k in set(bins)]
    return float(sum(gaps))
