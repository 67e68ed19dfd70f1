"""A model of the tests whose calls are written down, and requests that may share them."""

import asyncio
from collections.abc import Callable

import grpc
import numpy as np

from modelyard.models.tfserving.messages import ServingFailed
from modelyard.models.types import Array
from modelyard.services.gateway.http.deadline import Deadline
from modelyard.services.gateway.serving.batching.batcher import Batcher
from modelyard.services.gateway.serving.batching.calls import Inputs, Outputs, Target

TARGET = Target("model", 1, "serving_default")


class Model:
    """Doubles its input; each call waits until it is let through, and is written down."""

    def __init__(self) -> None:
        self.calls: list[list[float]] = []
        self.gate = asyncio.Event()

    async def __call__(self, target: Target, inputs: Inputs, deadline: Deadline) -> Outputs:
        del deadline
        self.calls.append(inputs["x"].ravel().tolist())
        await self.gate.wait()
        if (inputs["x"] < 0).any():
            raise ServingFailed(grpc.StatusCode.INVALID_ARGUMENT, "negative")
        return Outputs({"y": inputs["x"] * 2}, target.version or 0)


def rows(*values: float) -> dict[str, Array]:
    return {"x": np.array(values, np.float32)[:, None]}


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0)


def ask(
    batcher: Batcher, inputs: Inputs, timeout_s: float = 60, target: Target = TARGET, *, bulk: bool = False
) -> "asyncio.Task[Outputs]":
    return asyncio.get_running_loop().create_task(batcher.run(target, inputs, Deadline.after(timeout_s), bulk=bulk))


def values(outputs: Outputs) -> list[float]:
    found: list[float] = outputs["y"].ravel().tolist()
    return found
