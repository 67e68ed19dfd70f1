"""Fits a model by its recipe, from its last checkpoint on. Its results are files: preprocessing state and weights."""

import time
from pathlib import Path
from typing import Any

import keras
from threadpoolctl import threadpool_limits

from modelyard.models.data import Splits
from modelyard.models.recipes import Recipe
from modelyard.models.spec import ModelSpec, PreparedData
from modelyard.models.types import Array
from modelyard.pipeline.arrays import save_arrays
from modelyard.pipeline.checkpoint import Checkpoint, Checkpoints, copy_variables
from modelyard.pipeline.devices import Devices
from modelyard.pipeline.progress import Progress, Report
from modelyard.pipeline.results import TrainedModel
from modelyard.pipeline.warm_start import StartVersion, load_start_weights, prepare_data

REPORT_INTERVAL_S = 0.5


def train(
    spec: ModelSpec,
    splits: Splits,
    recipe: Recipe,
    devices: Devices,
    work: Path,
    checkpoints: Path,
    report: Report,
    start: StartVersion | None = None,
) -> TrainedModel:
    """Fits ``spec`` to ``splits.train``; the test split is not used.

    The same recipe, data, kind and number of devices give the same weights, however often the process was killed and
    started again on the same ``checkpoints``: it resumes after the last finished epoch.

    Args:
        start: the version whose weights and preprocessing training starts from; None for random weights.

    Raises:
        InvalidRecipe: that version's weights do not fit.
    """
    keras.utils.set_random_seed(recipe.seed)
    timer = FitTimer()
    with threadpool_limits(limits=recipe.threads), devices.scope():
        report(Progress("train", message=f"preparing, on {devices.label} with {recipe.backend}"))
        prepared = prepare_data(spec, splits, recipe, start)
        model = spec.build(recipe, prepared.state)
        if start:
            load_start_weights(start, model, work, report)
        compile_model(model, spec, recipe, steps=len(prepared.train) * recipe.epochs)
        store = Checkpoints(checkpoints)
        done = resume(model, prepared, store, start, report)
        if not done.is_finished(recipe):
            writer = CheckpointWriter(store, recipe, done, timer)
            fit(model, prepared, recipe, devices, writer, report)
            done = writer.done
    return TrainedModel(
        state=save_arrays(work / "state.npz", prepared.state),
        weights=store.weights_path(done.epoch),
        history=done.history,
        best_epoch=done.export_epoch(recipe),
        parameters=int(model.count_params()),
        cpu_s=done.cpu_s,
        wall_s=done.wall_s,
        started_from=done.started_from,
    )


def resume(
    model: Any, prepared: PreparedData, checkpoints: Checkpoints, start: StartVersion | None, report: Report
) -> Checkpoint:
    """Restores model and batches from the newest checkpoint, and returns it."""
    found = checkpoints.read_newest()
    model.optimizer.build(model.trainable_variables)
    if not found.epoch or not checkpoints.restore(model, found.epoch):
        return Checkpoint(started_from=start.version if start else None)
    prepared.train.epoch = found.epoch  # the content of a batch depends on the epoch
    report(Progress("train", message=f"resuming after epoch {found.epoch}, from its checkpoint"))
    return found


def fit(
    model: Any, prepared: PreparedData, recipe: Recipe, devices: Devices, writer: "CheckpointWriter", report: Report
) -> None:
    """Runs the remaining epochs."""
    model.fit(
        devices.pad_batches(prepared.train),
        validation_data=devices.pad_batches(prepared.validation),
        initial_epoch=writer.done.epoch,
        epochs=recipe.epochs,
        shuffle=False,  # the batches order themselves, from the seed and the epoch
        verbose=0,
        callbacks=[
            writer.make_raw_weights_callback(),
            *make_averaging_callbacks(recipe),
            writer,
            ProgressReporter(report, recipe.epochs),
        ],
    )


class FitTimer:
    """Measures processor and wall seconds of this process, from now on."""

    def __init__(self) -> None:
        self._cpu_s, self._wall_s = time.process_time(), time.monotonic()

    @property
    def cpu_s(self) -> float:
        return time.process_time() - self._cpu_s

    @property
    def wall_s(self) -> float:
        return time.monotonic() - self._wall_s


def compile_model(model: Any, spec: ModelSpec, recipe: Recipe, steps: int) -> None:
    """Attaches optimiser, loss and metrics. ``jit_compile`` stays automatic: XLA is slower than oneDNN on a CPU."""
    model.compile(optimizer=make_optimizer(recipe, steps), loss=make_loss(spec, recipe), metrics=make_metrics(spec))


def make_optimizer(recipe: Recipe, steps: int) -> Any:
    options: dict[str, Any] = {"learning_rate": make_learning_rate(recipe, steps)}
    if recipe.clip_norm:
        options["global_clipnorm"] = recipe.clip_norm
    if recipe.ema:
        options.update(use_ema=True, ema_momentum=recipe.ema)
    if recipe.optimizer == "sgd":
        return keras.optimizers.SGD(momentum=0.9, **options)
    options["beta_2"] = recipe.beta_2
    if recipe.optimizer == "adam":
        return keras.optimizers.Adam(**options)
    return keras.optimizers.AdamW(weight_decay=recipe.weight_decay, **options)


def make_learning_rate(recipe: Recipe, steps: int) -> Any:
    """A constant, or one cycle (Smith & Topin 2017, arXiv:1708.07120): linear up, cosine down to zero."""
    if recipe.schedule == "constant":
        return recipe.learning_rate
    warmup_steps = int(steps * recipe.warmup)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=recipe.learning_rate / 25,
        warmup_target=recipe.learning_rate,
        warmup_steps=warmup_steps,
        decay_steps=max(1, steps - warmup_steps),
    )


def make_loss(spec: ModelSpec, recipe: Recipe) -> Any:
    if spec.loss:
        return keras.losses.get(spec.loss)
    if spec.task == "regression":
        return keras.losses.MeanAbsoluteError()
    if spec.task in ("binary", "multilabel"):
        return keras.losses.BinaryCrossentropy(label_smoothing=recipe.label_smoothing)
    return make_smoothed_crossentropy(len(spec.labels), recipe.label_smoothing)


def make_smoothed_crossentropy(classes: int, smoothing: float) -> Any:
    """Cross-entropy of class ids ``[N]`` or ``[N,1]`` against probabilities ``[N,classes]``."""

    def crossentropy(y_true: Any, y_pred: Any) -> Any:
        ids = keras.ops.cast(keras.ops.reshape(y_true, (-1,)), "int32")
        return keras.losses.categorical_crossentropy(keras.ops.one_hot(ids, classes), y_pred, label_smoothing=smoothing)

    return crossentropy


def make_metrics(spec: ModelSpec) -> list[Any]:
    if spec.task == "regression":
        return [keras.metrics.R2Score(name="r2")]
    if spec.task == "binary":
        return [keras.metrics.BinaryAccuracy(name="accuracy")]
    return [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]


def make_averaging_callbacks(recipe: Recipe) -> list[Any]:
    """Callbacks that validate and export averaged weights, if the recipe has an average."""
    return [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)] if recipe.ema else []


class CheckpointWriter(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no type information
    """Writes a checkpoint after each epoch, and stops training when the recipe is finished.

    It runs after the callback that swaps averaged weights into the model: those are validated and exported, while
    training continues with the raw ones, which ``make_raw_weights_callback`` copies before the swap.
    """

    def __init__(self, checkpoints: Checkpoints, recipe: Recipe, done: Checkpoint, timer: FitTimer) -> None:
        super().__init__()
        self._checkpoints, self._recipe, self._timer = checkpoints, recipe, timer
        self._earlier, self.done = done, done
        self._raw: dict[str, Array] = {}

    def make_raw_weights_callback(self) -> Any:
        return keras.callbacks.LambdaCallback(on_epoch_end=self._copy_raw_weights)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        values = {name: float(value) for name, value in logs.items()}
        self.done = Checkpoint(
            started_from=self._earlier.started_from,
            history=(*self.done.history, values),
            cpu_s=self._earlier.cpu_s + self._timer.cpu_s,
            wall_s=self._earlier.wall_s + self._timer.wall_s,
        )
        keep = self.done.export_epoch(self._recipe) == epoch + 1
        self._checkpoints.write(self.model, self._raw, self.done, keep=keep)
        if self.done.is_finished(self._recipe):
            self.model.stop_training = True

    def _copy_raw_weights(self, epoch: int, logs: Any) -> None:
        del epoch, logs
        self._raw = copy_variables(self.model)


class ProgressReporter(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no type information
    """Turns Keras's callbacks into ``Progress``: steps, ``REPORT_INTERVAL_S`` apart, and ends of epochs.

    The last step of an epoch is reported when the epoch has ended: validated, and its checkpoint written.
    """

    def __init__(self, report: Report, epochs: int) -> None:
        super().__init__()
        self._report, self._epochs = report, epochs
        self._epoch = self._done_steps = 0
        self._first = epochs
        self._started = self._last = 0.0

    def on_train_begin(self, logs: Any = None) -> None:
        self._started = time.monotonic()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch, self._first = epoch + 1, min(self._first, epoch)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._done_steps += 1
        now = time.monotonic()
        if batch + 1 < self.params["steps"] and now - self._last >= REPORT_INTERVAL_S:
            self._last = now
            self._send(step=batch + 1, logs=logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._send(step=self.params["steps"], logs=logs, learning_rate=float(self.model.optimizer.learning_rate))

    def _send(self, step: int, logs: Any, learning_rate: float | None = None) -> None:
        steps = self.params["steps"]
        remaining = steps * (self._epochs - self._first) - self._done_steps
        eta_s = (time.monotonic() - self._started) / max(1, self._done_steps) * remaining
        values = {name: float(value) for name, value in (logs or {}).items()}
        self._report(
            Progress(
                "train",
                epoch=self._epoch,
                epochs=self._epochs,
                step=step,
                steps=steps,
                eta_s=round(eta_s, 1),
                metrics=values,
                learning_rate=learning_rate,
            )
        )
