"""Keras's training loop, with checkpoints and progress."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras

from modelyard.models.errors import ModelyardError
from modelyard.models.recipes import Recipe
from modelyard.models.sources.loading import describe_failure
from modelyard.models.spec import ModelSpec, PreparedData
from modelyard.models.types import Array
from modelyard.pipeline.errors import LossNotFinite, TrainingFailed
from modelyard.pipeline.fitting.checkpoint import Checkpoint, Checkpoints, copy_variables
from modelyard.pipeline.fitting.devices import Devices
from modelyard.pipeline.fitting.eta import FitEstimate
from modelyard.pipeline.job import Cancelled
from modelyard.pipeline.progress import Progress, Report

REPORT_INTERVAL_S = 0.5
ADVICE = ": a lower learning_rate or a clip_norm may help, or an example makes the model divide by zero"


class FirstStep(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no type information
    """Knows whether a training has begun."""

    def __init__(self) -> None:
        super().__init__()
        self.is_done = False

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        del batch, logs
        self.is_done = True


@contextmanager
def explain_start(spec: ModelSpec) -> Iterator[FirstStep]:
    """Names the line of the model's file if its code fails before the first step has ended.

    Raises:
        TrainingFailed: with file and line.
    """
    started = FirstStep()
    try:
        yield started
    except (ModelyardError, Cancelled, OSError):
        raise
    except Exception as error:
        if started.is_done or not spec.file:
            raise
        raise TrainingFailed(describe_failure(error, spec.file)) from error


def fit(
    model: Any,
    prepared: PreparedData,
    recipe: Recipe,
    devices: Devices,
    writer: "CheckpointWriter",
    started: FirstStep,
    report: Report,
) -> Checkpoint:
    """Runs the remaining epochs; returns the last checkpoint.

    Raises:
        LossNotFinite: the loss became NaN or infinite, and the recipe does not keep an earlier epoch.
    """
    try:
        model.fit(
            devices.pad_batches(prepared.train),
            validation_data=devices.pad_batches(prepared.validation),
            initial_epoch=writer.done.epoch,
            epochs=recipe.epochs,
            shuffle=False,  # the batches order themselves, from the seed and the epoch
            verbose=0,
            callbacks=[
                started,
                FiniteLoss(),
                writer.make_raw_weights_callback(),
                *make_averaging_callbacks(recipe),
                writer,
                ProgressReporter(report, recipe, len(prepared.validation)),
            ],
        )
    except LossNotFinite as error:
        if recipe.keep == "last" or not writer.done.epoch:
            raise
        report(Progress("train", message=f"keeping epoch {writer.done.best_epoch}, as {error}"))
    return writer.done


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


def make_averaging_callbacks(recipe: Recipe) -> list[Any]:
    """Callbacks that validate and export averaged weights, if the recipe has an average."""
    return [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)] if recipe.ema else []


class FiniteLoss(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no type information
    """Ends training at the first loss that is NaN or infinite: no later step would mend it."""

    def __init__(self) -> None:
        super().__init__()
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch = epoch + 1

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._require("loss", logs, f"step {batch + 1} of epoch {self._epoch}")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._require("val_loss", logs, f"epoch {epoch + 1}")

    def _require(self, name: str, logs: Any, when: str) -> None:
        value = float((logs or {}).get(name, 0.0))
        if not math.isfinite(value):
            raise LossNotFinite(f"{name} is {value} after {when}{ADVICE}")


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

    def __init__(self, report: Report, recipe: Recipe, validation_steps: int) -> None:
        super().__init__()
        self._report, self._recipe, self._validation_steps = report, recipe, validation_steps
        self._epoch = 0
        self._last = 0.0

    def on_train_begin(self, logs: Any = None) -> None:
        self._estimate = FitEstimate(self._recipe.epochs, self.params["steps"], self._validation_steps)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch = epoch + 1
        self._estimate.begin_epoch(self._epoch)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._estimate.end_step(batch + 1)
        now = time.monotonic()
        if batch + 1 < self.params["steps"] and now - self._last >= REPORT_INTERVAL_S:
            self._last = now
            self._send(step=batch + 1, logs=logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._estimate.end_epoch()
        self._send(step=self.params["steps"], logs=logs, learning_rate=float(self.model.optimizer.learning_rate))

    def _send(self, step: int, logs: Any, learning_rate: float | None = None) -> None:
        eta_s = self._estimate.remaining_s
        self._report(
            Progress(
                "train",
                epoch=self._epoch,
                epochs=self._recipe.epochs,
                step=step,
                steps=self.params["steps"],
                eta_s=None if eta_s is None else round(eta_s, 1),
                eta_at_most=bool(self._recipe.patience and eta_s),
                metrics={name: float(value) for name, value in (logs or {}).items()},
                learning_rate=learning_rate,
            )
        )
