"""Checks whether the rows of an external model are independent, so that requests may share a run.

After its first predictions, a row is run again beside a probe row. If its outputs are as they were
alone, three times, requests share runs from then on; one difference, and they never do. Rows that depend on their
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
from modelyard.services.gateway.serving.batching.calls import Call, Inputs, Outputs, Target

log = structlog.get_logger()

REQUIRED_CHECKS = 3
MAX_ROWS = 8
RELATIVE_TOLERANCE, ABSOLUTE_TOLERANCE = 1e-3, 1e-5
"""Kernels differ by batch size in the last digits."""
TIMEOUT_S = 10.0


class CheckedSignature(NamedTuple):
    """A signature of one version, which is checked by itself."""

    model: str
    version: int
    signature: str


class RowIndependence:
    """Checks and verdicts by version. Runs on the event loop's thread: no locks."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._agreements: dict[Hashable, int] = {}
        self._verdicts: dict[Hashable, bool] = {}
        self._checks: set[asyncio.Task[None]] = set()

    def is_proven(self, key: CheckedSignature) -> bool:
        """Whether rows were found to be independent."""
        return self._verdicts.get(key, False)

    def check(self, key: CheckedSignature, target: Target, inputs: Inputs, alone: Outputs) -> None:
        """Checks with what was just predicted, if the verdict is open; no request waits for it."""
        if key not in self._verdicts and not self._checks:
            check = asyncio.get_running_loop().create_task(self._check(key, target, inputs, alone))
            self._checks.add(check)
            check.add_done_callback(self._checks.discard)

    async def _check(self, key: CheckedSignature, target: Target, inputs: Inputs, alone: Outputs) -> None:
        try:
            with_probe = await self._call(target, append_probe_row(inputs), Deadline.after(TIMEOUT_S))
        except ModelyardError as error:  # a probe row that the model does not take proves nothing
            log.debug("row independence check failed", model=key.model, cause=str(error))
            return
        if with_probe.version != alone.version:
            return
        if not rows_agree(alone, with_probe):
            self._verdicts[key] = False
            log.warning("rows depend on each other: requests do not share runs", **key._asdict())
            return
        self._agreements[key] = self._agreements.get(key, 0) + 1
        if self._agreements[key] >= REQUIRED_CHECKS:
            del self._agreements[key]
            self._verdicts[key] = True
            log.info("rows are independent: requests share runs", **key._asdict())


def append_probe_row(inputs: Inputs) -> dict[str, Array]:
    """At most eight rows, and one of zeros or empty strings behind them."""
    return {name: np.concatenate([array[:MAX_ROWS], probe_row(array)]) for name, array in inputs.items()}


def probe_row(array: Array) -> Array:
    if array.dtype != object:
        return np.zeros_like(array[:1])
    empty = np.empty_like(array[:1])
    empty.fill(b"")
    return empty


def rows_agree(alone: Mapping[str, Array], with_probe: Mapping[str, Array]) -> bool:
    """Whether the rows of ``alone`` are the first ones of ``with_probe``."""
    if alone.keys() != with_probe.keys():
        return False
    return all(_equal(array[:MAX_ROWS], with_probe[name][: min(len(array), MAX_ROWS)]) for name, array in alone.items())


def _equal(one: Array, other: Array) -> bool:
    if one.shape != other.shape:
        return False
    if one.dtype.kind == "f":
        return np.allclose(one, other, RELATIVE_TOLERANCE, ABSOLUTE_TOLERANCE, equal_nan=True)
    return bool((one == other).all())
