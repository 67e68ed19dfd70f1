"""Whether the rows of a model are independent, so that requests may share a run."""

from collections.abc import Callable, Mapping

import numpy as np

from modelyard.models.errors import ModelyardError
from modelyard.models.types import Array

Call = Callable[[Mapping[str, Array]], dict[str, Array]]
"""A signature: arrays by input -> arrays by output."""
MAX_ROWS = 8
RELATIVE_TOLERANCE, ABSOLUTE_TOLERANCE = 1e-3, 1e-5
"""As the gateway has them for external models: kernels differ by batch size in the last digits."""


def find_dependence(call: Call, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> str:
    """Why requests must not share a run; empty if every row answers alone as in its batch.

    Args:
        outputs: of all rows together.
    """
    count = len(next(iter(inputs.values())))
    for name, values in outputs.items():
        if not values.ndim or len(values) != count:
            return f"output {name} has no row for each input"
    for row in range(min(count, MAX_ROWS)):
        try:
            alone = call({name: values[row : row + 1] for name, values in inputs.items()})
        except ModelyardError:
            return "a row alone is refused"
        for name, values in outputs.items():
            if not rows_agree(alone[name], values[row : row + 1]):
                return f"output {name} of a row depends on the others in its batch"
    return ""


def rows_agree(one: Array, other: Array) -> bool:
    if one.shape != other.shape:
        return False
    if one.dtype.kind == "f":
        return np.allclose(one, other, RELATIVE_TOLERANCE, ABSOLUTE_TOLERANCE)
    return bool((one == other).all())
