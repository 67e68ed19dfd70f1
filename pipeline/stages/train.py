"""Fits a model by its recipe, from its last checkpoint on. Its results are files: preprocessing state and weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
from threadpoolctl import threadpool_limits

from modelyard.models.data import Splits
from modelyard.models.recipes import Recipe
from modelyard.models.spec import ModelSpec, PreparedData
from modelyard.pipeline.arrays import save_arrays, save_split
from modelyard.pipeline.calibrating.examples import choose_seen
from modelyard.pipeline.fitting.checkpoint import Checkpoint, Checkpoints
from modelyard.pipeline.fitting.compiling import compile_model
from modelyard.pipeline.fitting.devices import Devices
from modelyard.pipeline.fitting.keras_loop import CheckpointWriter, FitTimer, explain_start, fit
from modelyard.pipeline.fitting.own_loop import run_own_loop
from modelyard.pipeline.fitting.warm_start import StartVersion, load_start_weights, prepare_data
from modelyard.pipeline.progress import Progress, Report
from modelyard.pipeline.results import TrainedModel


def train(
    spec: ModelSpec,
    splits: Splits,
    recipe: Recipe,
    devices: Devices,
    work: Path,
    checkpoints: Path,
    report: Report,
    start: StartVersion | None = None,
    rehearse: Callable[[PreparedData], None] = lambda _: None,
) -> TrainedModel:
    """Fits ``spec`` to ``splits.train``; the test split is not used.

    The same recipe, data, kind and number of devices give the same weights, however often the process was killed and
    started again on the same ``checkpoints``: it resumes after the last finished epoch.

    Args:
        start: the version whose weights and preprocessing training starts from; None for random weights.
        rehearse: called before the first epoch; it raises what is wrong with the model.

    Raises:
        InvalidRecipe: that version's weights do not fit.
        TrainingFailed: with file and line: the model's own code fails in the first step.
        LossNotFinite: the loss is no number.
    """
    keras.utils.set_random_seed(recipe.seed)
    timer = FitTimer()
    with threadpool_limits(limits=recipe.threads), devices.scope():
        report(Progress("train", message=f"preparing, on {devices.label} with {recipe.backend}"))
        prepared = prepare_data(spec, splits, recipe, start)
        store = Checkpoints(checkpoints)
        if not store.read_newest().epoch:
            rehearse(prepared)
        model = spec.build(recipe, prepared.state)
        if start:
            load_start_weights(start, model, work, report)
        if spec.fit:
            done = run_own_loop(spec, model, prepared, recipe, store, report)
        else:
            with explain_start(spec) as started:
                compile_model(model, spec, recipe, steps=len(prepared.train) * recipe.epochs)
                done = resume(model, prepared, store, start, report)
                writer = CheckpointWriter(store, recipe, done, timer)
                if not done.is_finished(recipe):
                    done = fit(model, prepared, recipe, devices, writer, started, report)
    return TrainedModel(
        state=save_arrays(work / "state.npz", prepared.state),
        weights=store.weights_path(done.epoch),
        history=done.history,
        best_epoch=done.epoch if spec.fit else done.export_epoch(recipe),
        parameters=int(model.count_params()),
        cpu_s=done.cpu_s,
        wall_s=done.wall_s,
        seen=save_seen(spec, splits, prepared, work),
        started_from=done.started_from,
    )


def save_seen(spec: ModelSpec, splits: Splits, prepared: PreparedData, work: Path) -> Path | None:
    """Training examples as the last epoch had them; None where the data's own say it."""
    found = choose_seen(spec, splits.train, prepared.train)
    return Path(save_split(work / "seen.npz", found)) if found else None


def resume(
    model: Any, prepared: PreparedData, checkpoints: Checkpoints, start: StartVersion | None, report: Report
) -> Checkpoint:
    """Restores model and batches from the newest checkpoint, and returns it."""
    found = checkpoints.read_newest()
    model.optimizer.build(model.trainable_variables)
    build_metrics(model, prepared.train[0][1])
    if not found.epoch or not checkpoints.restore(model, found.epoch):
        return Checkpoint(started_from=start.version if start else None)
    prepared.train.epoch = found.epoch  # the content of a batch depends on the epoch
    report(Progress("train", message=f"resuming after epoch {found.epoch}, from its checkpoint"))
    return found


def build_metrics(model: Any, y: Any) -> None:
    """Has metrics make their variables now, by a batch's targets: if a step makes them, TensorFlow traces it twice."""
    shape = getattr(model, "output_shape", None)
    if keras.backend.backend() != "tensorflow" or not isinstance(shape, tuple) or None in shape[1:]:
        return  # a model with several outputs, or without a graph of layers: Keras makes them in the first step
    model.compute_metrics(None, y, keras.ops.zeros((len(y), *shape[1:])))
    model.reset_metrics()
