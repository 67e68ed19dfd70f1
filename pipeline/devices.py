"""What a training runs on: one device, or several of one host that share every batch.

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
from modelyard.models.spec import Recipe
from modelyard.models.types import Array
from modelyard.pipeline.errors import DevicesMissing


@dataclass(frozen=True)
class Devices:
    """By name, as Keras lists them: ``gpu:0``."""

    names: tuple[str, ...]

    @property
    def label(self) -> str:
        """For the decision record: ``cpu``, ``gpu:1``, ``gpu:2``."""
        kind = self.names[0].partition(":")[0]
        return f"{kind}:{len(self.names)}" if kind != "cpu" or len(self.names) > 1 else kind

    def require_able(self, recipe: Recipe) -> None:
        """Raises ``InvalidRecipe`` for what these cannot do together."""
        count, size = len(self.names), recipe.batch_size
        if size % count:
            raise InvalidRecipe(f"recipe key 'batch_size': expected a multiple of {count} devices, received {size}")
        if count > 1 and recipe.ema and recipe.backend == "tensorflow":
            # Keras's SwapEMAWeights ruins the variables of a MirroredStrategy.
            raise InvalidRecipe(
                "recipe key 'ema': expected 0 on several devices with tensorflow; jax can average there"
            )

    def scope(self) -> AbstractContextManager[Any]:
        """Where a model has to be built and fitted."""
        if len(self.names) == 1:
            return nullcontext()
        if current_backend() == "jax":
            distributed: AbstractContextManager[Any] = keras.distribution.DataParallel(devices=list(self.names)).scope()
            return distributed
        import tensorflow as tf

        mirrored: AbstractContextManager[Any] = tf.distribute.MirroredStrategy(list(self.names)).scope()
        return mirrored

    def even(self, batches: Any) -> Any:
        """Batches that can be split evenly."""
        return batches if len(self.names) == 1 else EvenBatches(batches, len(self.names))


class EvenBatches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras has no type information
    """Fills a batch that cannot be split evenly, as an epoch's last may be, up with its own first rows once more."""

    def __init__(self, batches: Any, parts: int) -> None:
        super().__init__(workers=1)
        self._batches, self._parts = batches, parts

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> tuple[Array, ...]:
        return tuple(filled(part, self._parts) for part in self._batches[index])

    def on_epoch_begin(self) -> None:
        self._batches.on_epoch_begin()

    def on_epoch_end(self) -> None:
        self._batches.on_epoch_end()


def filled(rows: Array, parts: int) -> Array:
    """``[B,...]`` -> ``[B',...]``, ``B'`` the next multiple of ``parts``."""
    if len(rows) % parts == 0:
        return rows
    return np.take(rows, range(-(-len(rows) // parts) * parts), axis=0, mode="wrap")


def prepared(recipe: Recipe) -> Devices:
    """Makes this process compute as the recipe says: its backend, threads and devices.

    Raises:
        WrongBackend: this process computes with another one.
        DevicesMissing: fewer are visible than are asked for.
        InvalidRecipe: so many devices cannot do what it asks for.
    """
    require_backend(recipe.backend)
    limit_threads(recipe.threads)
    if recipe.devices == "cpu":
        hide_gpus()
    devices = Devices(chosen(recipe, keras.distribution.list_devices()))
    devices.require_able(recipe)
    return devices


def chosen(recipe: Recipe, visible: Sequence[str]) -> tuple[str, ...]:
    """Those of the visible devices that the recipe asks for.

    A processor counts as a device for whoever asks for several only where the backend was told to split it, which is
    for trying this out: ``XLA_FLAGS=--xla_force_host_platform_device_count=2``, or TensorFlow's logical devices.
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
    """For a recipe that asks for the processor in a process that sees more."""
    if current_backend() == "jax":
        import jax

        jax.config.update("jax_platforms", "cpu")  # type: ignore[no-untyped-call]  # as JAX left it
        return
    import tensorflow as tf

    if tf.config.get_visible_devices("GPU"):
        tf.config.set_visible_devices([], "GPU")


def limit_threads(threads: int) -> None:
    """Fixes the threads of the backend; the order of floating-point sums, and so the weights, depend on them."""
    if current_backend() == "jax":
        os.environ["NPROC"] = str(threads)  # XLA reads it when it starts, before the first operation
        return
    import tensorflow as tf

    threading = tf.config.threading
    if threading.get_intra_op_parallelism_threads() != threads:
        threading.set_intra_op_parallelism_threads(threads)
        threading.set_inter_op_parallelism_threads(threads)
