"""Batches of texts of similar length, so that little of a batch is padding."""

from itertools import pairwise

import keras
import numpy as np

from modelyard.models.text.vocabulary import PAD_MULTIPLE, PADDING, TokenIds, pad
from modelyard.models.types import Array

LENGTH_JITTER = 8
"""Tokens of noise on the lengths that batches are sorted by, so that an epoch's batches differ from the last one's."""

SHORT = 32
"""Ids of a short text."""


class ReviewBatches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras has no type information
    """Batches ``(int32 [B,L], float32 [B,K])`` of texts of similar length; targets are ``[N]`` or ``[N,K]``.

    With ``weights`` ``[N]``, how much each text counts, those are the batches' third part, ``float32 [B]``.
    What batch ``i`` holds depends on ``seed`` and ``epoch`` alone. ``epoch`` counts up by itself; to resume a run, set
    it to the number of epochs done. Without a seed the order is by length. Of texts of up to ``SHORT`` ids,
    ``short_factor`` times as many are in a batch.
    """

    def __init__(
        self,
        ids: TokenIds,
        targets: Array,
        batch_size: int,
        *,
        weights: Array | None = None,
        seed: int | None = None,
        passes: int = 1,
        short_factor: int = 1,
    ) -> None:
        super().__init__(workers=1)
        self._ids = ids
        self._targets = targets.reshape(len(targets), -1).astype(np.float32)
        self._weights = None if weights is None else weights.astype(np.float32)
        self._seed, self._passes = seed, passes
        self._bounds = _bound_batches(int(np.count_nonzero(ids.lengths <= SHORT)), len(ids), batch_size, short_factor)
        self._planned: tuple[int, list[Array]] | None = None
        self.epoch = 0

    def __len__(self) -> int:
        return self._passes * (len(self._bounds) - 1)

    def __getitem__(self, index: int) -> tuple[Array, ...]:
        ids = self._rows(index)
        if index == 1 and ids.shape[1] == self._rows(0).shape[1]:
            # Keras takes a dimension that the first two batches share for a constant.
            ids = np.pad(ids, ((0, 0), (0, PAD_MULTIPLE)), constant_values=PADDING)
        members = self._members(index)
        if self._weights is None:
            return ids, self._targets[members]
        return ids, self._targets[members], self._weights[members]

    def on_epoch_end(self) -> None:
        self.epoch += 1

    def _rows(self, index: int) -> Array:
        return pad([self._ids.row(member) for member in self._members(index)])

    def _members(self, index: int) -> Array:
        epoch, planned = self.epoch, self._planned  # a thread may still prefetch the last epoch, as in models.batches
        if planned is None or planned[0] != epoch:
            planned = self._planned = (epoch, self._plan(epoch))
        return planned[1][index]

    def _plan(self, epoch: int) -> list[Array]:
        if self._seed is None:
            return self._cut(self._ids.lengths)
        generator = np.random.default_rng((self._seed, epoch))
        batches: list[Array] = []
        for _ in range(self._passes):
            noise = generator.uniform(-LENGTH_JITTER, LENGTH_JITTER, len(self._ids))
            cut = self._cut(self._ids.lengths + noise)
            batches += [cut[number] for number in generator.permutation(len(cut))]
        return batches

    def _cut(self, lengths: Array) -> list[Array]:
        order = np.argsort(lengths, kind="stable")
        return [order[start:end] for start, end in pairwise(self._bounds)]


def _bound_batches(short: int, count: int, batch_size: int, short_factor: int) -> list[int]:
    """Where batches begin and, last, the end, among texts sorted by length of which the first ``short`` are short."""
    large = batch_size * short_factor
    first = short // large * large if short_factor > 1 else 0
    return [*range(0, first, large), *range(first, count, batch_size), count]
