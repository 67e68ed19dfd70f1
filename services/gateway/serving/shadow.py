"""A shadow is asked what the stable version has answered; nobody gets its answers, they are compared.

It is asked after the answer is on its way, behind everything else that waits for the model server, and not at all while
many such questions wait already: it takes no time of a caller.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import numpy as np

from modelyard.models.errors import ModelyardError
from modelyard.models.types import Array
from modelyard.services.gateway.codecs import labels
from modelyard.services.gateway.http.deadline import Deadline
from modelyard.services.gateway.serving.batching import Outputs
from modelyard.services.gateway.serving.canary_counts import Key, Trials
from modelyard.services.gateway.serving.interface import Interface

AFTER_S = 0.02
"""Time for an answer to leave."""
MOST = 32
"""Questions that wait or are asked; those beyond are left out, and counted."""
TIMEOUT_S = 5.0
NOTICEABLE = 1e-3
"""Relative difference of numbers that is a disagreement."""

Inputs = Mapping[str, Array]
Ask = Callable[..., Coroutine[Any, Any, Outputs]]


class Shadows:
    """Asks and compares. Runs on the event loop's thread: no locks."""

    def __init__(self, find: Callable[[str, int], Interface | None], ask: Ask, trials: Trials) -> None:
        self._find, self._ask, self._trials = find, ask, trials
        self._asked: set[asyncio.Task[None]] = set()

    def mirror(self, interface: Interface, signature: str, inputs: Inputs, answered: Outputs) -> None:
        """Asks the model's shadow too, if it has one and the stable version answered."""
        trial = interface.trial
        if trial is None or trial.shadow is None or (trial.canary and trial.canary.version == interface.version):
            return
        key = Key(interface.model, "shadow", trial.shadow.version, trial.shadow.since)
        if len(self._asked) >= MOST:
            self._trials.count(key, left_out=1)
            return
        task = asyncio.create_task(self._compare(key, signature, inputs, answered))
        self._asked.add(task)
        task.add_done_callback(self._asked.discard)

    async def _compare(self, key: Key, signature: str, inputs: Inputs, answered: Outputs) -> None:
        await asyncio.sleep(AFTER_S)
        shadow = self._find(key.model, key.version)
        try:
            if shadow is None or signature not in shadow.signatures:
                raise Unlike
            outputs = await self._ask(shadow, signature, inputs, Deadline.after(TIMEOUT_S), bulk=True)
            self._trials.count(key, asked=1, **differences(answered, outputs))
        except ModelyardError:
            self._trials.count(key, asked=1, failed=1)


class Unlike(ModelyardError):
    """The shadow has no such signature or output."""


def differences(stable: Mapping[str, Array], shadow: Mapping[str, Array]) -> dict[str, float]:
    """Rows, those on which both disagree, and how far the scores are apart, added up.

    Classes disagree if they differ; their score is the probability of the stable version's class. Other numbers
    disagree if they differ by more than a thousandth; their score is the number.

    Raises:
        Unlike: other outputs, or of another shape.
    """
    ours, theirs = columns(stable), columns(shadow)
    if ours.keys() != theirs.keys() or any(ours[name].shape != theirs[name].shape for name in ours):
        raise Unlike
    if labels.CLASS_ID in ours:
        chosen, rows = ours[labels.CLASS_ID].astype(int), np.arange(len(ours[labels.CLASS_ID]))
        disagree = chosen != theirs[labels.CLASS_ID]
        mine, other = (side[labels.PROBABILITIES][rows, chosen] for side in (ours, theirs))
        return summed(disagree, np.abs(mine - other))
    shifts = np.stack([np.abs(ours[name] - theirs[name]).reshape(len(ours[name]), -1).max(axis=1) for name in ours])
    scale = np.stack([np.abs(ours[name]).reshape(len(ours[name]), -1).max(axis=1) for name in ours])
    return summed((shifts > NOTICEABLE * np.maximum(scale, 1)).any(axis=0), shifts.max(axis=0))


def columns(outputs: Mapping[str, Array]) -> dict[str, Array]:
    """Numeric outputs with a row for each input. Raises ``Unlike`` if there are none."""
    found = {name: value for name, value in outputs.items() if value.ndim and value.dtype.kind in "biuf" and value.size}
    if not found or len({len(value) for value in found.values()}) != 1:
        raise Unlike
    return found


def summed(disagree: Array, shift: Array) -> dict[str, float]:
    return {"rows": len(disagree), "disagreed": int(disagree.sum()), "shift": float(shift.sum())}
