"""Devices of a training: one, or several of one host that share every batch.

Each device holds the whole model and computes its part of a batch; the gradients are summed before the step. Keras does
so through ``keras.distribution.DataParallel`` on JAX and through ``tf.distribute.MirroredStrategy`` on TensorFlow.
"""

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from modelyard.models.backend import current_backend, require_backend
from modelyard.models.errors import InvalidRecipe
from modelyard.models.recipes import Recipe
from modelyard.models.types import Array
from modelyard.pipeline.errors import DevicesMissing


@dataclass(frozen=True)
class Devices:
    """Devices by their names in Keras: ``gpu:0``."""

    names: tuple[str, ...]

    @property
    def label(self) -> str:
        """For the decision record: ``cpu``, ``gpu:1``, ``gpu:2``."""
        kind = self.names[0].partition(":")[0]
        return f"{kind}:{len(self.names)}" if kind != "cpu" or len(self.names) > 1 else kind

    def require_support(self, recipe: Recipe) -> None:
        """Raises ``InvalidRecipe`` if these devices cannot train the recipe."""
        count, size = len(self.names), recipe.batch_size
        if size % count:
            raise InvalidRecipe(f"recipe key 'batch_size': expected a multiple of {count} devices, received {size}")
        if count > 1 and recipe.ema and recipe.backend == "tensorflow":
            # Keras's SwapEMAWeights breaks the variables of a MirroredStrategy.
            raise InvalidRecipe(
                "recipe key 'ema': expected 0 on several devices with tensorflow; jax supports averages there"
            )

    def scope(self) -> AbstractContextManager[Any]:
        """The context in which a model has to be built and fitted."""
        if len(self.names) == 1:
            return nullcontext()
        if current_backend() == "jax":
            distributed: AbstractContextManager[Any] = keras.distribution.DataParallel(devices=list(self.names)).scope()
            return distributed
        import tensorflow as tf

        mirrored: AbstractContextManager[Any] = tf.distribute.MirroredStrategy(list(self.names)).scope()
        return mirrored

    def pad_batches(self, batches: Any) -> Any:
        """Batches whose rows can be split evenly."""
        return batches if len(self.names) == 1 else PaddedBatches(batches, len(self.names))


class PaddedBatches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras has no type information
    """Pads a batch that cannot be split evenly, such as an epoch's last, with copies of its own first rows."""

    def __init__(self, batches: Any, parts: int) -> None:
        super().__init__(workers=1)
        self._batches, self._parts = batches, parts

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> tuple[Array, ...]:
        return tuple(pad_rows(part, self._parts) for part in self._batches[index])

    def on_epoch_begin(self) -> None:
        self._batches.on_epoch_begin()

    def on_epoch_end(self) -> None:
        self._batches.on_epoch_end()


def pad_rows(rows: Array, parts: int) -> Array:
    """Repeats the first rows of ``[B,...]`` -> ``[B',...]``, ``B'`` the next multiple of ``parts``."""
    if len(rows) % parts == 0:
        return rows
    return np.take(rows, range(-(-len(rows) // parts) * parts), axis=0, mode="wrap")


def prepare_devices(recipe: Recipe) -> Devices:
    """Configures this process for the recipe's backend, threads and devices.

    Raises:
        WrongBackend: this process computes with another backend.
        DevicesMissing: fewer devices are visible than the recipe needs.
        InvalidRecipe: these devices cannot train the recipe.
    """
    require_backend(recipe.backend)
    limit_threads(recipe.threads)
    if recipe.devices == "cpu":
        hide_gpus()
    devices = Devices(choose_devices(recipe, keras.distribution.list_devices()))
    devices.require_support(recipe)
    return devices


def choose_devices(recipe: Recipe, visible: Sequence[str]) -> tuple[str, ...]:
    """The visible devices that the recipe uses.

    A CPU counts as several devices only if the backend was configured to split it, which is for tests:
    ``XLA_FLAGS=--xla_force_host_platform_device_count=2``, or TensorFlow's logical devices.
    """
    if recipe.devices in ("auto", "cpu"):
        return tuple(visible[:1])
    count = 1 if recipe.devices == "gpu" else int(recipe.devices)
    usable = [name for name in visible if count > 1 or not name.startswith("cpu")]
    if len(usable) < count:
        seen = ", ".join(visible)
        raise DevicesMissing(
            f"recipe key 'devices': expected {count} GPU{'s' * (count > 1)}, but {recipe.backend} sees {seen} in this "
            "process; CUDA_VISIBLE_DEVICES and docs/models.md say what it can see"
        )
    return tuple(usable[:count])


def hide_gpus() -> None:
    """Makes the backend use the CPU in a process that sees GPUs."""
    if current_backend() == "jax":
        import jax

        jax.config.update("jax_platforms", "cpu")  # type: ignore[no-untyped-call]  # as JAX left it
        return
    import tensorflow as tf

    if tf.config.get_visible_devices("GPU"):
        tf.config.set_visible_devices([], "GPU")


def limit_threads(threads: int) -> None:
    """Sets the backend's threads; the order of floating-point sums, and so the weights, depend on them."""
    if current_backend() == "jax":
        os.environ["NPROC"] = str(threads)  # XLA reads it when it starts, before the first operation
        return
    import tensorflow as tf

    threading = tf.config.threading
    if threading.get_intra_op_parallelism_threads() != threads:
        threading.set_intra_op_parallelism_threads(threads)
        threading.set_inter_op_parallelism_threads(threads)
