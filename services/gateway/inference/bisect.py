"""Predicts rows together, so that each fails alone.

Where the model refuses a batch, its halves are run, and theirs, until the rows that it refuses are alone: two calls per
halving for each bad row, none more for a good batch.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from modelyard.models.errors import ModelyardError
from modelyard.models.tfserving.messages import ServingFailed
from modelyard.models.types import Array
from modelyard.services.gateway.serving.batching.calls import UNRELATED_TO_ROWS

Rows = Mapping[str, Array]


@dataclass(frozen=True)
class Part:
    """Neighbouring rows and their result."""

    size: int
    result: dict[str, Array] | ModelyardError


async def run_bisected(run: Callable[[Rows], Awaitable[dict[str, Array]]], rows: Rows, size: int) -> list[Part]:
    """The results of all rows, in order.

    Args:
        run: predicts rows; raises ``ModelyardError``.
        rows: arrays with ``size`` rows each.
    """
    try:
        result = await run(rows)
    except ModelyardError as error:
        if size == 1 or (isinstance(error, ServingFailed) and error.code in UNRELATED_TO_ROWS):
            return [Part(size, error)]
    else:
        return [Part(size, result)]
    half = size // 2
    first = await run_bisected(run, {name: array[:half] for name, array in rows.items()}, half)
    rest = await run_bisected(run, {name: array[half:] for name, array in rows.items()}, size - half)
    return [*first, *rest]
