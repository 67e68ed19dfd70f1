"""Rows that are answered together, and fail alone.

Where the model refuses a batch, its halves are asked, and theirs, until the rows that it refuses are alone: two calls
per halving for each bad row, none more for a good batch.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from modelyard.models.errors import ModelyardError
from modelyard.models.tfserving.messages import ServingFailed
from modelyard.models.types import Array
from modelyard.services.gateway.serving.batching import NOT_THE_BATCH

Rows = Mapping[str, Array]


@dataclass(frozen=True)
class Part:
    """Neighbouring rows and what became of them."""

    size: int
    found: dict[str, Array] | ModelyardError


async def asked(run: Callable[[Rows], Awaitable[dict[str, Array]]], rows: Rows, size: int) -> list[Part]:
    """All rows' answers, in order.

    Args:
        run: answers rows; raises ``ModelyardError``.
        rows: arrays with ``size`` rows each.
    """
    try:
        found = await run(rows)
    except ModelyardError as error:
        if size == 1 or (isinstance(error, ServingFailed) and error.code in NOT_THE_BATCH):
            return [Part(size, error)]
    else:
        return [Part(size, found)]
    half = size // 2
    first = await asked(run, {name: array[:half] for name, array in rows.items()}, half)
    rest = await asked(run, {name: array[half:] for name, array in rows.items()}, size - half)
    return [*first, *rest]
