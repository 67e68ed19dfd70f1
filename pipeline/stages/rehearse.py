"""Sends one batch through build, export and reload, in seconds, before a training that may take hours.

What does not fit together is refused with the line of the model's file. The work is done by ``main`` in a process of
its own, without a GPU. A model that passed once, and has not changed since, is not rehearsed again. One step of fitting
is rehearsed only where no training follows: a training begins with it anyway.
"""

import hashlib
import importlib.metadata
import math
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from modelyard.models.backend import use_backend
from modelyard.models.catalog import resolve_recipe
from modelyard.models.data import Splits, name_arrays, take
from modelyard.models.errors import InvalidSpec, ModelyardError
from modelyard.models.recipes import Recipe
from modelyard.models.resolve import read_schema, resolve, write_schema
from modelyard.models.sources.loading import LoadedModel, describe_failure, load_saved
from modelyard.models.spec import ModelSpec, PreparedData
from modelyard.models.types import Array
from modelyard.pipeline.arrays import load_arrays, save_arrays
from modelyard.pipeline.errors import ExportRejected
from modelyard.pipeline.golden import TOLERANCE, save_golden
from modelyard.pipeline.processes.forkserver import ForkServer
from modelyard.pipeline.processes.stage_process import print_progress, run_stage
from modelyard.pipeline.progress import Progress, Report

VERSION = importlib.metadata.version("modelyard")
EXAMPLES = 4
"""Raw examples that the exported graph answers."""
SURE_SUM = 1e-3
"""Probabilities of one example may miss a sum of 1 by so much."""


@dataclass(frozen=True)
class RehearseRequest:
    """Arguments of the process."""

    source: str
    """File of the model's source."""
    schema: str | None
    recipe_name: str
    recipe: Mapping[str, Any]
    state: str
    batch: str | None
    """File of one batch, by ``save_batch``; None where the model brings its own training loop."""
    fits: bool
    """Whether the batch is fitted to."""
    raw: str
    folder: str
    """Where the graph is written."""


def rehearse(
    loaded: LoadedModel,
    spec: ModelSpec,
    recipe_name: str,
    recipe: Recipe,
    prepared: PreparedData,
    splits: Splits,
    passed: Path,
    work: Path,
    forks: ForkServer,
    report: Report,
    *,
    fits: bool,
) -> None:
    """Rehearses a training, unless ``passed`` says that this very one went well.

    Args:
        passed: folder of marks, one for each rehearsal that went well.
        fits: whether one step of fitting is rehearsed, too.

    Raises:
        StageFailed: with the file, the line and what is wrong.
    """
    mark = passed / hash_rehearsal(loaded, spec, recipe, prepared)
    if mark.exists():
        return
    with tempfile.TemporaryDirectory(prefix="rehearsal-", dir=work) as name:
        folder = Path(name)
        raw = name_arrays(spec.input, take(splits.test.x, slice(EXAMPLES)))
        request = RehearseRequest(
            source=str(loaded.save(folder / "model.json")),
            schema=str(write_schema(folder / "schema.json", splits.schema)) if splits.schema else None,
            recipe_name=recipe_name,
            recipe=asdict(recipe),
            state=str(save_arrays(folder / "state.npz", prepared.state)),
            batch=None if spec.fit else str(save_batch(folder / "batch.npz", prepared.train[0])),
            fits=fits,
            raw=str(save_arrays(folder / "raw.npz", raw)),
            folder=str(folder / "exported"),
        )
        request_path = folder / "rehearse.json"
        request_path.write_bytes(orjson.dumps(request))
        run_stage("rehearse", __name__, str(request_path), forks, report)
    passed.mkdir(parents=True, exist_ok=True)
    mark.touch()


def hash_rehearsal(loaded: LoadedModel, spec: ModelSpec, recipe: Recipe, prepared: PreparedData) -> str:
    """SHA-256 over all that a rehearsal depends on: code, the recipe's own values, labels, and the shapes of the state.

    Values that every recipe has are left out: learning rate, seed, epochs change no graph. So neither the trials of a
    search nor a job with another seed are rehearsed again.
    """
    common = {field.name for field in fields(Recipe)}
    own = {name: value for name, value in asdict(recipe).items() if name not in common}
    sources = loaded.sources or {str(loaded.file.path): loaded.file.path.read_bytes()}
    code = {path: hashlib.sha256(source).hexdigest() for path, source in sources.items()}
    shapes = {name: [*array.shape, str(array.dtype)] for name, array in prepared.state.items()}
    parts = [VERSION, code, spec.name, own, spec.labels, repr(spec.input), shapes]
    return hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()


def save_batch(path: Path, batch: Any) -> Path:
    """Writes the arrays of a batch ``(x, y)`` or ``(x, y, weights)``; each may be several arrays by name."""
    arrays: dict[str, Array] = {}
    for place, part in enumerate(batch):
        named = part if isinstance(part, Mapping) else {"": part}
        arrays |= {f"{place}/{name}": np.asarray(array) for name, array in named.items()}
    return save_arrays(path, arrays)


def load_batch(path: Path) -> list[Any]:
    """Reads what ``save_batch`` wrote."""
    parts: dict[str, dict[str, Any]] = {}
    for key, array in load_arrays(path).items():
        place, _, name = key.partition("/")
        parts.setdefault(place, {})[name] = array
    return [part[""] if set(part) == {""} else part for _, part in sorted(parts.items())]


# --- inside the process -----------------------------------------------------------------------------------------------


def main(request_path: str) -> None:
    request = RehearseRequest(**orjson.loads(Path(request_path).read_bytes()))
    use_backend("tensorflow")
    try:
        loaded = load_saved(Path(request.source))
        rehearse_request(request, loaded.spec)
    except ModelyardError as error:
        sys.exit(str(error))
    except Exception as error:  # noqa: BLE001  # whatever the model's own code raises
        sys.exit(describe_failure(error, loaded.file.path))


def rehearse_request(request: RehearseRequest, given: ModelSpec) -> None:
    from modelyard.pipeline.exporting.features import find_feature_layer

    spec = resolve(given, read_schema(Path(request.schema)) if request.schema else None)
    recipe = resolve_recipe(spec, request.recipe_name, request.recipe)
    print_progress(Progress("rehearse", message="one batch through build, export and reload"))
    state = load_arrays(Path(request.state))
    model = spec.build(recipe, state)
    find_feature_layer(model, spec.feature_layer)
    if request.batch:
        batch = load_batch(Path(request.batch))
        if spec.signatures is None:
            check_outputs(spec, np.asarray(model(batch[0], training=False)), examples=len(batch[1]))
        if request.fits:
            fit_batch(spec, recipe, model, batch)
    export_and_reload(spec, model, state, load_arrays(Path(request.raw)), Path(request.folder))


def fit_batch(spec: ModelSpec, recipe: Recipe, model: Any, batch: list[Any]) -> None:
    """One step of training.

    Raises:
        InvalidSpec: the loss is not a number.
    """
    from modelyard.pipeline.fitting.compiling import compile_model

    compile_model(model, spec, recipe, steps=2)
    found = model.train_on_batch(*batch, return_dict=True)
    if not math.isfinite(float(found["loss"])):
        raise InvalidSpec(f"{spec.name}: the loss of the first batch is {float(found['loss'])}")


def check_outputs(spec: ModelSpec, outputs: Any, examples: int) -> None:
    """Raises ``InvalidSpec`` if the model's outputs are not those of its task."""
    width = {"binary": 1, "regression": max(1, len(spec.labels))}.get(spec.task, len(spec.labels))
    if outputs.shape != (examples, width):
        raise InvalidSpec(
            f"{spec.name}: build: a {spec.task} model returns [N,{width}]"
            f"{f' for {len(spec.labels)} labels' if spec.labels else ''}, received {format_shape(outputs.shape)}"
        )
    if spec.task == "regression":
        return
    low, high = float(outputs.min()), float(outputs.max())
    if low < 0 or high > 1:
        raise InvalidSpec(
            f"{spec.name}: build: expected probabilities, received values from {low:.3g} to {high:.3g}; "
            f"end in {'softmax' if spec.task == 'multiclass' else 'sigmoid'}"
        )
    if spec.task == "multiclass" and abs(outputs.sum(axis=1) - 1).max() > SURE_SUM:
        raise InvalidSpec(f"{spec.name}: build: expected probabilities that sum to 1; end in softmax")


def format_shape(shape: tuple[int, ...]) -> str:
    """``[N,3]``: the first axis is the batch."""
    return f"[{','.join(['N', *map(str, shape[1:])])}]" if shape else "a number"


def export_and_reload(spec: ModelSpec, model: Any, state: Any, raw: Mapping[str, Any], folder: Path) -> None:
    """Writes the graph, loads it, and compares the answers. Without what decodes files, which is no model's own."""
    import tensorflow as tf

    from modelyard.pipeline.evaluation.exported import find_broken_explanation, measure_golden_difference
    from modelyard.pipeline.exporting.operations import check_operations
    from modelyard.pipeline.exporting.saved_model import write_saved_model

    answers = write_saved_model(spec, model, state, raw, folder, files=False)
    check_operations(folder / "saved_model.pb")
    (folder / "assets.extra").mkdir(exist_ok=True)
    save_golden(folder, answers)
    loaded = tf.saved_model.load(str(folder))
    difference = measure_golden_difference(loaded, folder)
    if not difference <= TOLERANCE:
        raise ExportRejected(f"the exported graph differs from the model by {difference:.2g}; allowed {TOLERANCE:.0e}")
    if broken := find_broken_explanation(loaded, folder):
        raise ExportRejected(f"explain: {broken} is not finite; explain=False exports the model without it")
