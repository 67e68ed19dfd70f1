"""Optimiser, loss and metrics of a recipe."""

from typing import Any

import keras

from modelyard.models.recipes import Recipe
from modelyard.models.spec import ModelSpec


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
    return OncePerStep(
        keras.optimizers.schedules.CosineDecay(
            initial_learning_rate=recipe.learning_rate / 25,
            warmup_target=recipe.learning_rate,
            warmup_steps=warmup_steps,
            decay_steps=max(1, steps - warmup_steps),
        )
    )


class OncePerStep(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]  # no type information
    """A schedule whose value is computed once in the graph of a step.

    An optimiser asks for it for each variable, with weight decay twice, and each time the graph grows by all of its
    operations: a quarter of the time that tracing a small model takes, and some of each step. The value is the same.
    """

    def __init__(self, schedule: Any) -> None:
        self._schedule = schedule
        self._graph: Any = None
        self._value: Any = None

    def __call__(self, step: Any) -> Any:
        graph = find_graph()
        if graph is None:
            return self._schedule(step)
        if graph is not self._graph:
            self._graph, self._value = graph, self._schedule(step)
        return self._value

    def get_config(self) -> dict[str, Any]:
        """Of the schedule."""
        config: dict[str, Any] = self._schedule.get_config()
        return config


def find_graph() -> Any:
    """The graph that TensorFlow is tracing; None if it traces none, or another backend computes."""
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    return None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()


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
    if spec.task in ("binary", "multilabel"):
        return [keras.metrics.BinaryAccuracy(name="accuracy")]
    if spec.task == "custom":
        return []
    return [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]
