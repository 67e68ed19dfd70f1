"""Checks a copied model, asks it for golden answers and measures it, in a process of its own.

What is found wrong is said before anything is published.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
from pydantic import BaseModel, ConfigDict

from modelyard.models.backend import use_backend
from modelyard.models.data import Split
from modelyard.models.errors import ModelyardError
from modelyard.models.registry import evaluations
from modelyard.models.registry.manifest import SignatureSpec, TensorSpec
from modelyard.models.types import Array, Task
from modelyard.pipeline import golden
from modelyard.pipeline.errors import ImportRefused
from modelyard.pipeline.evaluation.exported import BATCH, measure_median_ms
from modelyard.pipeline.evaluation.mistakes import write_mistakes
from modelyard.pipeline.golden import input_key, max_difference, output_key, save_golden
from modelyard.pipeline.processes.forkserver import ForkServer
from modelyard.pipeline.processes.stage_process import print_progress, run_stage
from modelyard.pipeline.progress import Progress, Report
from modelyard.pipeline.results import Evaluation
from modelyard.pipeline.stages.evaluate import LATENCY_CALLS, describe_answers
from modelyard.pipeline.stages.export import WARMUP, write_warmup
from modelyard.pipeline.stages.imported import graph
from modelyard.pipeline.stages.imported.answers import answer_all, make_example
from modelyard.pipeline.stages.imported.examples import Examples, read_examples
from modelyard.pipeline.stages.imported.loaded import (
    LoadedSignature,
    call_keras,
    export_keras,
    load_keras,
    load_saved_model,
)
from modelyard.pipeline.stages.imported.measure import (
    CLASS_ID,
    PROBABILITIES,
    Prediction,
    expand_classes,
    measure,
    measure_simplest,
    read_prediction,
    read_targets,
)
from modelyard.pipeline.stages.imported.rows import Call, find_dependence


@dataclass(frozen=True)
class CheckRequest:
    """Arguments of the process."""

    model: str
    staged: str
    """Folder of the copy; empty for a Keras file, which is exported there."""
    keras: str | None
    """The Keras file."""
    tensorflow: str
    """The version of this installation."""
    labels: tuple[str, ...]
    signature: str | None
    output: str | None
    test: str | None
    target: str
    champion: str | None
    """Folder of the serving version, if it was imported too."""
    result: str


class Checked(BaseModel):
    """What was found."""

    model_config = ConfigDict(frozen=True)

    signature: str
    """The one that was measured."""
    signatures: dict[str, SignatureSpec]
    task: Task
    metric: str | None
    probabilities: str | None
    batches: bool
    tensorflow: str
    example: object
    notes: tuple[str, ...]
    evaluation: Evaluation | None
    champion: float | None
    """The gate's metric of the serving version, on the same data."""
    simplest: float | None


def check_model(request: CheckRequest, work: Path, forks: ForkServer, report: Report) -> Checked:
    """Fills the staged folder with all but the manifest.

    Raises:
        StageFailed: the model cannot be imported, or the test data does not fit; says why.
    """
    path = work / "check.json"
    path.write_bytes(orjson.dumps(request))
    run_stage("import", __name__, str(path), forks, report)
    return Checked.model_validate_json(Path(request.result).read_bytes())


# --- inside the process -----------------------------------------------------------------------------------------------


def main(request_path: str) -> None:
    request = CheckRequest(**orjson.loads(Path(request_path).read_bytes()))
    try:
        Path(request.result).write_text(check(request).model_dump_json())
    except ModelyardError as error:
        sys.exit(str(error))


def check(request: CheckRequest) -> Checked:
    use_backend("tensorflow")
    staged = Path(request.staged)
    original = None
    if request.keras:
        print_progress(Progress("import", message="exporting the Keras file as a SavedModel"))
        original = load_keras(Path(request.keras))
        export_keras(original, staged)
    meta = graph.read_graph(staged)
    written = graph.read_writer(meta, request.tensorflow)
    graph.check_operations(meta)
    chosen, signatures, notes = graph.select_signatures(meta, request.signature)
    test = read_examples(Path(request.test), request.target, signatures[chosen]) if request.test else None
    print_progress(Progress("import", message="loading the model"))
    loaded = load_saved_model(staged)
    calls = {name: LoadedSignature(loaded.signatures[name], spec) for name, spec in signatures.items()}
    answers, unanswered = answer_all(calls, signatures, chosen, test)
    if original is not None:
        check_export(original, chosen, answers)
    (staged / "assets.extra").mkdir(exist_ok=True)
    save_golden(staged, answers)
    write_warmup(request.model, answers, staged / WARMUP)
    inputs = {name: answers[input_key(chosen, name)] for name in names_of(signatures[chosen].inputs)}
    outputs = {name: answers[output_key(chosen, name)] for name in names_of(signatures[chosen].outputs)}
    dependence = find_dependence(calls[chosen], inputs, outputs)
    prediction = read_prediction(outputs, len(next(iter(inputs.values()))), tuple(request.labels), request.output)
    measured = _Measurement(prediction, test, independent=not dependence) if test else None
    evaluation = measured.evaluate(calls[chosen], staged / evaluations.MISTAKES_FILE) if measured else None
    champion, why_not = measured.compare(request.champion, chosen) if measured and request.champion else (None, ())
    alone = (f"requests do not share runs: {dependence}",) if dependence else ()
    return Checked(
        signature=chosen,
        signatures={name: spec for name, spec in signatures.items() if name not in unanswered},
        task=prediction.task,
        metric=prediction.metric,
        probabilities=name_probabilities(prediction, signatures[chosen]),
        batches=not dependence,
        tensorflow=written,
        example=make_example(inputs),
        notes=(*notes, *unanswered.values(), *alone, *prediction.notes, *why_not),
        evaluation=evaluation,
        champion=champion,
        simplest=measure_simplest(prediction, measured.y) if measured else None,
    )


def names_of(tensors: tuple[TensorSpec, ...]) -> list[str]:
    return [tensor.name for tensor in tensors]


def name_probabilities(prediction: Prediction, spec: SignatureSpec) -> str | None:
    """The output with the classes, unless the outputs are named as the gateway expects them."""
    if not prediction.labels or {CLASS_ID, PROBABILITIES} <= set(names_of(spec.outputs)):
        return None
    return prediction.output


def check_export(original: object, chosen: str, answers: Mapping[str, Array]) -> None:
    """Compares the SavedModel with the Keras model that it was made of; raises ``ImportRefused``."""
    inputs = golden.list_golden_inputs(answers)[chosen]
    expected = call_keras(original, inputs)
    found = [each for key, each in answers.items() if key.startswith(output_key(chosen, ""))]
    if expected is not None and not (worst := max_difference(found[0], expected)) <= golden.TOLERANCE:
        raise ImportRefused(
            f"the exported model differs from the Keras file's by {worst:.2g}; allowed {golden.TOLERANCE:.0e}"
        )


# --- measurement ------------------------------------------------------------------------------------------------------


class _Measurement:
    """Versions on the same test data."""

    def __init__(self, prediction: Prediction, test: Examples, *, independent: bool) -> None:
        self._prediction, self._test = prediction, test
        self._size = BATCH if independent else 1
        self.y = read_targets(test.y, prediction)

    def evaluate(self, call: Call, mistakes: Path) -> Evaluation:
        """All that is measured; writes the mistakes of each kind to a file."""
        prediction, test = self._prediction, self._test
        outputs = self._predict(call, "the imported model")
        expanded = expand_classes(outputs) if prediction.labels else outputs.reshape(len(test), 1)
        test_split = Split(self._raw_inputs(), self.y)
        found = describe_answers(prediction.task, prediction.labels, {}, test_split, expanded)
        write_mistakes(mistakes, prediction.task, prediction.labels, test_split.x, self.y, expanded)
        latency = {size: self._measure_latency(call, int(size), calls) for size, calls in LATENCY_CALLS.items()}
        return found.model_copy(update={"metrics": measure(prediction, self.y, outputs), "latency_ms": latency})

    def compare(self, champion: str, signature: str) -> tuple[float | None, tuple[str, ...]]:
        """The gate's metric of the serving version, or why it has none. A single input or output may be renamed."""
        folder, metric = Path(champion), self._prediction.metric
        assert metric
        try:
            spec = graph.select_signatures(graph.read_graph(folder), signature)[1][signature]
            call = LoadedSignature(load_saved_model(folder).signatures[signature], spec)
            outputs = self._predict(rename_inputs(call, spec), "the serving version", names_of(spec.outputs))
            return measure(self._prediction, self.y, outputs)[metric], ()
        except (ModelyardError, KeyError, ValueError, IndexError) as error:
            return None, (f"the serving version is not compared: it does not take this test data ({error})",)

    def _predict(self, call: Call, who: str, outputs: Sequence[str] = ()) -> Array:
        wanted = outputs[0] if len(outputs) == 1 else self._prediction.output
        assert wanted
        parts = []
        for start in range(0, len(self._test), self._size):
            print_progress(Progress("import", message=f"testing {who}", step=start, steps=len(self._test)))
            rows = {name: values[start : start + self._size] for name, values in self._test.inputs.items()}
            parts.append(call(rows)[wanted])
        return np.concatenate(parts)

    def _measure_latency(self, call: Call, size: int, calls: int) -> float:
        batch = {name: values[:size] for name, values in self._test.inputs.items()}
        return measure_median_ms(lambda: call(batch), calls)

    def _raw_inputs(self) -> Array | dict[str, Array]:
        """As datasets have them: texts as ``str``, one input alone."""
        raw = {name: decode_texts(values) for name, values in self._test.inputs.items()}
        return next(iter(raw.values())) if len(raw) == 1 else raw


def rename_inputs(call: Call, spec: SignatureSpec) -> Call:
    """The call under another name of its only input: Keras makes such names up."""
    if len(spec.inputs) != 1:
        return call
    return lambda inputs: call(dict(zip(names_of(spec.inputs), inputs.values(), strict=True)))


def decode_texts(values: Array) -> Array:
    if values.dtype != object:
        return values
    found = np.empty(values.shape, dtype=object)
    found.ravel()[:] = [each.decode(errors="replace") for each in values.ravel()]
    return found
