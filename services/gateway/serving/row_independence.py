"""Whether a SavedModel that nobody vouches for answers each row by itself, so that requests may share a run.

Found out by trying: after its first answers, a row is run again beside a strange one. If it is answered as it was
alone, three times, requests share runs from then on; one different answer, and they never do. Rows that depend on their
neighbours (a softmax over the batch, normalisation by its mean) and models that draw random numbers are caught so.
"""

import asyncio
from collections.abc import Hashable, Mapping
from typing import NamedTuple

import numpy as np
import structlog

from modelyard.models.errors import ModelyardError
from modelyard.models.types import Array
from modelyard.services.gateway.http.deadline import Deadline
from modelyard.services.gateway.serving.batching import Call, Inputs, Outputs, Target

log = structlog.get_logger()

TRIALS = 3
MOST_ROWS = 8
RELATIVE, ABSOLUTE = 1e-3, 1e-5
"""Kernels differ by batch size in the last digits."""
PATIENCE_S = 10.0


class Key(NamedTuple):
    """What is tried, one version at a time."""

    model: str
    version: int
    signature: str


class Independence:
    """What is known of each version. Runs on the event loop's thread: no locks."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._agreed: dict[Hashable, int] = {}
        self._verdicts: dict[Hashable, bool] = {}
        self._trials: set[asyncio.Task[None]] = set()

    def proven(self, key: Key) -> bool:
        """Whether rows were found to be independent."""
        return self._verdicts.get(key, False)

    def learn(self, key: Key, target: Target, inputs: Inputs, alone: Outputs) -> None:
        """Tries with what was just answered, if the verdict is open; nobody waits for it."""
        if key not in self._verdicts and not self._trials:
            trial = asyncio.get_running_loop().create_task(self._try(key, target, inputs, alone))
            self._trials.add(trial)
            trial.add_done_callback(self._trials.discard)

    async def _try(self, key: Key, target: Target, inputs: Inputs, alone: Outputs) -> None:
        try:
            beside = await self._call(target, with_stranger(inputs), Deadline.after(PATIENCE_S))
        except ModelyardError as error:  # a stranger that the model does not take proves nothing
            log.debug("trial failed", model=key.model, cause=str(error))
            return
        if beside.version != alone.version:
            return
        if not agree(alone, beside):
            self._verdicts[key] = False
            log.warning("rows depend on each other: requests do not share runs", **key._asdict())
            return
        self._agreed[key] = self._agreed.get(key, 0) + 1
        if self._agreed[key] >= TRIALS:
            del self._agreed[key]
            self._verdicts[key] = True
            log.info("rows are independent: requests share runs", **key._asdict())


def with_stranger(inputs: Inputs) -> dict[str, Array]:
    """At most eight rows, and one of zeros or empty strings behind them."""
    return {name: np.concatenate([array[:MOST_ROWS], stranger(array)]) for name, array in inputs.items()}


def stranger(array: Array) -> Array:
    if array.dtype != object:
        return np.zeros_like(array[:1])
    empty = np.empty_like(array[:1])
    empty.fill(b"")
    return empty


def agree(alone: Mapping[str, Array], beside: Mapping[str, Array]) -> bool:
    """Whether the rows of ``alone`` are the first ones of ``beside``."""
    if alone.keys() != beside.keys():
        return False
    return all(_equal(array[:MOST_ROWS], beside[name][: min(len(array), MOST_ROWS)]) for name, array in alone.items())


def _equal(one: Array, other: Array) -> bool:
    if one.shape != other.shape:
        return False
    if one.dtype.kind == "f":
        return np.allclose(one, other, RELATIVE, ABSOLUTE, equal_nan=True)
    return bool((one == other).all())
