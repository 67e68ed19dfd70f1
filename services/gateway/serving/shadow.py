"""Shadow traffic: inputs of the stable version are sent to the shadow too, and their outputs are compared.

It is sent after the response is on its way, behind everything else that waits for the model server, and not at all
while many such calls wait already: it takes no time of a client, and no client gets its outputs.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import numpy as np

from modelyard.models.errors import ModelyardError
from modelyard.models.types import Array
from modelyard.services.gateway.http.deadline import Deadline
from modelyard.services.gateway.serving.batching.calls import Outputs
from modelyard.services.gateway.serving.canary_counts import CanaryCounts, CountKey
from modelyard.services.gateway.serving.interface import CLASS_ID, PROBABILITIES, TEXT, Interface, is_uncertainty

DELAY_S = 0.02
"""Time for a response to leave."""
MAX_PENDING = 32
"""Calls that wait or are under way; those beyond are left out, and counted."""
TIMEOUT_S = 5.0
RELATIVE_TOLERANCE = 1e-3
"""Maximum relative difference of numbers that counts as agreement."""

Inputs = Mapping[str, Array]
Predict = Callable[..., Coroutine[Any, Any, Outputs]]


class ShadowTraffic:
    """Calls and compares. Runs on the event loop's thread: no locks."""

    def __init__(self, find: Callable[[str, int], Interface | None], predict: Predict, counts: CanaryCounts) -> None:
        self._find, self._predict, self._counts = find, predict, counts
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def pending(self) -> int:
        """Calls that wait or are under way."""
        return len(self._tasks)

    def mirror(self, interface: Interface, signature: str, inputs: Inputs, outputs: Outputs) -> None:
        """Calls the model's shadow too, if it has one and the stable version responded."""
        experiment = interface.experiment
        if (
            experiment is None
            or experiment.shadow is None
            or (experiment.canary and experiment.canary.version == interface.version)
        ):
            return
        key = CountKey(interface.model, "shadow", experiment.shadow.version, experiment.shadow.since)
        if len(self._tasks) >= MAX_PENDING:
            self._counts.count(key, left_out=1)
            return
        task = asyncio.create_task(self._compare(key, signature, inputs, outputs))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _compare(self, key: CountKey, signature: str, inputs: Inputs, outputs: Outputs) -> None:
        await asyncio.sleep(DELAY_S)
        shadow = self._find(key.model, key.version)
        try:
            if shadow is None or signature not in shadow.signatures:
                raise Incomparable
            shadow_outputs = await self._predict(shadow, signature, inputs, Deadline.after(TIMEOUT_S), bulk=True)
            self._counts.count(key, asked=1, **compare_outputs(outputs, shadow_outputs))
        except ModelyardError:
            self._counts.count(key, asked=1, failed=1)


class Incomparable(ModelyardError):
    """The shadow has no such signature or output."""


def compare_outputs(stable: Mapping[str, Array], shadow: Mapping[str, Array]) -> dict[str, float]:
    """Counts of rows and of disagreements, and the sums of the differences of scores.

    Classes disagree if they differ; their score is the probability of the stable version's class. Other numbers
    disagree if they differ by more than a thousandth; their score is the number. Texts disagree if they differ.

    Raises:
        Incomparable: other outputs, or of another shape.
    """
    if stable.keys() == shadow.keys() == {TEXT} and stable[TEXT].shape == shadow[TEXT].shape and stable[TEXT].ndim == 1:
        differ = np.asarray(stable[TEXT] != shadow[TEXT], bool)
        return sum_differences(differ, differ.astype(float))
    ours, theirs = numeric_outputs(stable), numeric_outputs(shadow)
    if ours.keys() != theirs.keys() or any(ours[name].shape != theirs[name].shape for name in ours):
        raise Incomparable
    if CLASS_ID in ours and PROBABILITIES in ours:
        chosen, rows = ours[CLASS_ID].astype(int), np.arange(len(ours[CLASS_ID]))
        disagree = chosen != theirs[CLASS_ID]
        mine, other = (side[PROBABILITIES][rows, chosen] for side in (ours, theirs))
        return sum_differences(disagree, np.abs(mine - other))
    shifts = np.stack([np.abs(ours[name] - theirs[name]).reshape(len(ours[name]), -1).max(axis=1) for name in ours])
    scale = np.stack([np.abs(ours[name]).reshape(len(ours[name]), -1).max(axis=1) for name in ours])
    return sum_differences((shifts > RELATIVE_TOLERANCE * np.maximum(scale, 1)).any(axis=0), shifts.max(axis=0))


def numeric_outputs(outputs: Mapping[str, Array]) -> dict[str, Array]:
    """Numeric outputs with a row for each input, uncertainty aside. Raises ``Incomparable`` if there are none."""
    found = {
        name: value
        for name, value in outputs.items()
        if value.ndim and value.dtype.kind in "biuf" and value.size and not is_uncertainty(name)
    }
    if not found or len({len(value) for value in found.values()}) != 1:
        raise Incomparable
    return found


def sum_differences(disagree: Array, shift: Array) -> dict[str, float]:
    return {"rows": len(disagree), "disagreed": int(disagree.sum()), "shift": float(shift.sum())}
