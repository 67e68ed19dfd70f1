"""Whether rows are independent is found out by trying, and never believed too early."""

import asyncio
from collections.abc import Callable

import grpc
import numpy as np
import pytest

from modelyard.models.tfserving.messages import ServingFailed
from modelyard.models.types import Array
from modelyard.services.gateway.http.deadline import Deadline
from modelyard.services.gateway.serving.batching.calls import Inputs, Outputs, Target
from modelyard.services.gateway.serving.row_independence import (
    REQUIRED_CHECKS,
    CheckedSignature,
    RowIndependence,
    append_probe_row,
)

TARGET = Target("m", 1, "serving_default")
KEY = CheckedSignature("m", 1, "serving_default")


def trained(function: Callable[[Array], Array], rows: Array, times: int) -> bool:
    """The verdict after so many answers."""

    async def call(target: Target, inputs: Inputs, deadline: Deadline) -> Outputs:
        del target, deadline
        return Outputs({"y": function(inputs["x"])}, 1)

    async def run() -> bool:
        independence = RowIndependence(call)
        for _ in range(times):
            independence.check(KEY, TARGET, {"x": rows}, await call(TARGET, {"x": rows}, Deadline.after(1)))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        return independence.is_proven(KEY)

    return asyncio.run(run())


ROWS = np.array([[1.0, 2.0]], np.float32)


def test_independent_rows_are_believed_after_three_trials() -> None:
    """Not after two."""
    assert not trained(lambda x: x * 2, ROWS, REQUIRED_CHECKS - 1)
    assert trained(lambda x: x * 2, ROWS, REQUIRED_CHECKS)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x - x.mean(axis=0),
        lambda x: np.exp(x) / np.exp(x).sum(axis=0),
        lambda x: x * len(x),
        lambda x: x + np.random.default_rng().normal(size=x.shape),
        lambda x: np.sort(x, axis=0),
    ],
    ids=["mean", "softmax", "size", "random", "order"],
)
def test_rows_that_depend_on_others_are_never_shared(function: Callable[[Array], Array]) -> None:
    """However often they are predicted, and though clients send equal rows only."""
    assert not trained(function, ROWS, 20)


def test_strings_and_whole_numbers_are_tried_too() -> None:
    """Beside an empty string and a zero."""
    texts = np.array([b"good", b"bad"], dtype=object)
    assert append_probe_row({"x": texts})["x"].tolist() == [b"good", b"bad", b""]
    assert trained(lambda x: np.array([len(item) for item in x]), texts, REQUIRED_CHECKS)
    assert trained(lambda x: x + 1, np.array([[3]], np.int64), REQUIRED_CHECKS)


def test_a_probe_row_that_is_refused_proves_nothing() -> None:
    """Neither for nor against."""

    def refuses_zeros(x: Array) -> Array:
        if (x == 0).all(axis=1).any():
            raise ServingFailed(grpc.StatusCode.INVALID_ARGUMENT, "zeros")
        return x

    assert not trained(refuses_zeros, ROWS, 20)
