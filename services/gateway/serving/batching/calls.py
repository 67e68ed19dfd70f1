"""What is called, with what, and what it answers."""

from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

import grpc
import numpy as np

from modelyard.models.registry.manifest import SignatureSpec
from modelyard.models.types import Array
from modelyard.services.gateway.http.deadline import Deadline

Inputs = Mapping[str, Array]

UNRELATED_TO_ROWS = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DATA_LOSS,
    }
)
"""Failures that no single row can be the cause of."""


class Target(NamedTuple):
    """What is called."""

    model: str
    version: int | None
    """None lets the model server take its newest."""
    signature: str


class Outputs(dict[str, Array]):
    """One array per named output, and the version that they come from."""

    def __init__(self, arrays: Mapping[str, Array], version: int, *, finite: bool | None = None) -> None:
        """``finite``: whether every number is; checked here, once for a whole batch, unless given."""
        super().__init__(arrays)
        self.version = version
        self.finite = _is_finite(arrays) if finite is None else finite


Call = Callable[[Target, Inputs, Deadline], Awaitable[Outputs]]


def _is_finite(arrays: Mapping[str, Array]) -> bool:
    return all(array.dtype.kind != "f" or bool(np.isfinite(array).all()) for array in arrays.values())


def may_share(signature: SignatureSpec, inputs: Mapping[str, Array]) -> bool:
    """Whether each row of these inputs has its own row in every output, as far as shapes tell."""
    sizes = {array.shape[:1] for array in inputs.values()}
    return signature.is_per_row and len(sizes) == 1 and () not in sizes


def count_rows(inputs: Mapping[str, Array]) -> int:
    return max((len(array) for array in inputs.values() if array.shape), default=1)
