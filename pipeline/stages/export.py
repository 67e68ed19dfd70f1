"""Exports a trained model as a SavedModel, with golden examples, warm-up requests and the weights.

The work is done by ``main`` in a process of its own, without a GPU.
"""

import shutil
import sys
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from modelyard.models.backend import use_backend
from modelyard.models.catalog import resolve_recipe
from modelyard.models.data import Inputs, Split, Splits, count_examples, name_arrays, take
from modelyard.models.errors import ModelyardError
from modelyard.models.recipes import Recipe
from modelyard.models.resolve import read_schema, resolve, write_schema
from modelyard.models.sources.loading import load_saved
from modelyard.models.spec import ModelSpec
from modelyard.models.tfserving.messages import prediction_log_pb2, to_proto
from modelyard.models.types import Array
from modelyard.pipeline.arrays import load_arrays, load_split, save_arrays, save_split
from modelyard.pipeline.calibrating.examples import add_spans, choose_calibration, choose_training
from modelyard.pipeline.exporting.explaining.background import learn_background
from modelyard.pipeline.golden import list_golden_inputs, save_golden
from modelyard.pipeline.processes.forkserver import ForkServer
from modelyard.pipeline.processes.stage_process import print_progress, run_stage
from modelyard.pipeline.progress import Progress, Report
from modelyard.pipeline.results import TrainedModel

WARMUP = "assets.extra/tf_serving_warmup_requests"
GOLDEN_EXAMPLES = 16
WARMUP_BATCHES = (1, 8)
EXPLAINED_BY: Mapping[str, str] = {"serving_default": "explain", "image_bytes": "explain_bytes"}
"""By signature, the one that takes the same inputs, and explains its answers."""


@dataclass(frozen=True)
class ExportRequest:
    """Arguments of the export process."""

    source: str
    """File of the model's source: it may have been edited since the training began."""
    schema: str | None
    """File of the data's schema."""
    recipe_name: str
    recipe: Mapping[str, Any]
    state: str
    weights: str
    golden_inputs: str
    calibration: str
    train: str
    """Files of the examples that uncertainty is learned from."""
    background: str
    staged: str


def export(
    spec: ModelSpec,
    source: Path,
    recipe_name: str,
    recipe: Recipe,
    trained: TrainedModel,
    splits: Splits,
    calibration: Split,
    staged: Path,
    forks: ForkServer,
    report: Report,
) -> None:
    """Fills ``staged`` with ``saved_model.pb``, ``variables/``, ``assets/`` and ``assets.extra/`` (but no manifest).

    Args:
        source: what ``LoadedModel.save`` wrote.
        calibration: examples on which neither weights nor the epoch were chosen.

    Raises:
        StageFailed: the process failed, or the graph has operations that a plain CPU server cannot run.
    """
    work = trained.state.parent
    examples = choose_golden_examples(splits.test)
    golden_inputs = save_arrays(work / "golden_inputs.npz", name_arrays(spec.input, examples))
    request = ExportRequest(
        source=str(source),
        schema=str(write_schema(work / "schema.json", splits.schema)) if splits.schema else None,
        recipe_name=recipe_name,
        recipe=asdict(recipe),
        state=str(trained.state),
        weights=str(trained.weights),
        golden_inputs=str(golden_inputs),
        calibration=save_split(work / "calibration.npz", choose_calibration(calibration)),
        train=str(trained.seen or save_split(work / "typical.npz", choose_training(splits.train))),
        background=str(save_arrays(work / "background.npz", learn_background(spec.input, splits.train.x))),
        staged=str(staged),
    )
    request_path = work / "export.json"
    request_path.write_bytes(orjson.dumps(request))
    run_stage("export", __name__, str(request_path), forks, report)


def choose_golden_examples(test: Split) -> Inputs:
    """A few raw test inputs, evenly spaced in the split; only shorter texts, if texts are the only input."""
    x = test.x
    if not isinstance(x, Mapping) and x.dtype == object:
        lengths = np.array([len(text) for text in x])
        x = x[np.argsort(lengths, kind="stable")[: max(GOLDEN_EXAMPLES, len(x) // 2)]]
    return take(x, np.linspace(0, count_examples(x) - 1, min(GOLDEN_EXAMPLES, count_examples(x))).astype(int))


# --- inside the export process ----------------------------------------------------------------------------------------


def main(request_path: str) -> None:
    try:
        export_request(ExportRequest(**orjson.loads(Path(request_path).read_bytes())))
    except ModelyardError as error:
        sys.exit(str(error))


def export_request(request: ExportRequest) -> None:
    use_backend("tensorflow")
    from modelyard.pipeline.exporting.operations import check_operations
    from modelyard.pipeline.exporting.saved_model import write_saved_model
    from modelyard.pipeline.exporting.uncertainty import CalibrationExamples

    given = load_saved(Path(request.source)).spec
    spec = resolve(given, read_schema(Path(request.schema)) if request.schema else None)
    recipe = resolve_recipe(spec, request.recipe_name, request.recipe)
    staged = Path(request.staged)
    state = load_arrays(Path(request.state))
    model = spec.build(recipe, state)
    model.load_weights(request.weights)
    print_progress(Progress("export", message="calibrating, and writing the SavedModel"))
    calibration, train = load_split(request.calibration), load_split(request.train)
    examples = CalibrationExamples(calibration, add_spans(calibration.x), train)
    raw, background = (load_arrays(Path(file)) for file in (request.golden_inputs, request.background))
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):  # threads that wait for small matrices take ten times the processor time
        answers = write_saved_model(spec, model, state, raw, staged, examples, background)
    check_operations(staged / "saved_model.pb")
    extra = staged / "assets.extra"
    extra.mkdir(exist_ok=True)
    shutil.copyfile(request.weights, extra / "model.weights.h5")
    shutil.copyfile(request.state, extra / "state.npz")
    save_golden(staged, answers)
    write_warmup(spec.name, answers, staged / WARMUP, list_signatures(staged))


def write_warmup(model: str, answers: Mapping[str, Array], path: Path, signatures: Collection[str] = ()) -> None:
    """Writes requests that TensorFlow Serving replays while it loads the version, so that no client waits for it.

    Format: TFRecord of ``PredictionLog`` (tensorflow/serving ``g3doc/saved_model_warmup.md``).

    Args:
        answers: golden inputs and outputs.
        signatures: those among them that explain answers are warmed up, too, by one example.
    """
    import tensorflow as tf

    golden = list_golden_inputs(answers)
    sizes = [(signature, inputs, size) for signature, inputs in golden.items() for size in WARMUP_BATCHES]
    for explained, signature in EXPLAINED_BY.items():
        if signature in signatures and signature not in golden:
            sizes.append((signature, golden[explained], 1))
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs, size in sizes:
            record = prediction_log_pb2.PredictionLog()
            request = record.predict_log.request
            request.model_spec.name = model
            request.model_spec.signature_name = signature
            for name, values in inputs.items():
                request.inputs[name].CopyFrom(to_proto(values[:size]))
            writer.write(record.SerializeToString())


def list_signatures(staged: Path) -> list[str]:
    """Names in ``saved_model.pb``."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    return list(SavedModel.FromString((staged / "saved_model.pb").read_bytes()).meta_graphs[0].signature_def)
