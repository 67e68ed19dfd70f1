"""Batches of arrays whose order and augmentation can be repeated from any epoch on."""

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from modelyard.models.data import Inputs, take
from modelyard.models.types import Array

Augment = Callable[[Any, np.random.Generator], Inputs]
"""``(x [B,...], randomness)`` -> ``x`` varied, of the same shape."""


class Batches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras has no type information
    """Batches ``(x[i], y[i])`` of arrays of equal length; ``x`` may be several arrays by name.

    With a seed, for training: shuffled, varied by ``augment``, ``passes`` times over the data per epoch, all batches of
    equal size (a pass leaves out what does not fill a batch). What batch ``i`` holds depends on ``seed`` and ``epoch``
    alone. Without a seed: every example once, in order.

    ``epoch`` counts up by itself. To resume a run, set it to the number of epochs done: ``fit`` calls ``on_epoch_end``
    once before its first epoch and then after each, so that it trains on epochs 1, 2, ... in both cases. It may also
    leave a thread behind that prefetches the last epoch while the next one starts.
    """

    def __init__(
        self,
        x: Inputs,
        y: Array,
        batch_size: int,
        *,
        seed: int | None = None,
        augment: Augment | None = None,
        passes: int = 1,
    ) -> None:
        super().__init__(workers=1)
        self._x, self._y, self._batch_size = x, y, min(batch_size, len(y))
        self._seed, self._augment, self._passes = seed, augment, passes
        self._planned: tuple[int, Array] | None = None  # (epoch, members)
        self.epoch = 0

    def __len__(self) -> int:
        if self._seed is None:
            return math.ceil(len(self._y) / self._batch_size)
        return self._passes * (len(self._y) // self._batch_size)

    def __getitem__(self, index: int) -> tuple[Inputs, Array]:
        if self._seed is None:
            rows = slice(index * self._batch_size, (index + 1) * self._batch_size)
            return take(self._x, rows), self._y[rows]
        members = self._members(self._seed)[index]
        x = take(self._x, members)
        if self._augment is not None:
            x = self._augment(x, np.random.default_rng((self._seed, self.epoch, index)))
        return x, self._y[members]

    def on_epoch_end(self) -> None:
        self.epoch += 1

    def _members(self, seed: int) -> Array:
        """``int64 [batches, batch_size]``: the examples of this epoch's batches."""
        epoch, planned = self.epoch, self._planned
        if planned is None or planned[0] != epoch:
            generator = np.random.default_rng((seed, epoch))
            whole = len(self._y) // self._batch_size * self._batch_size
            orders = [generator.permutation(len(self._y))[:whole] for _ in range(self._passes)]
            planned = self._planned = (epoch, np.concatenate(orders).reshape(-1, self._batch_size))
        return planned[1]
