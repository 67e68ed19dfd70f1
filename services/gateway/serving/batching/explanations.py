"""Calls that explain answers, which no other request shares."""

import asyncio

import grpc
from prometheus_client import Counter

from modelyard.models.tfserving.messages import ServingFailed
from modelyard.services.gateway.http.deadline import Deadline
from modelyard.services.gateway.serving.batching.calls import Call, Inputs, Outputs, Target, count_rows

MAX_EXPLAINING = 1


class Explanations:
    """Calls that explain answers: one at a time, of all models, and no rows of other requests with them.

    One costs as much as dozens of answers, which are not to wait for more than one of them. Its rows are explained one
    by one, so that a shared call would save nothing.
    """

    def __init__(self, call: Call, counter: Counter) -> None:
        self._call = call
        self._counter = counter
        self._turn = asyncio.Semaphore(MAX_EXPLAINING)

    async def run(self, target: Target, inputs: Inputs, deadline: Deadline) -> Outputs:
        """The outputs for these rows.

        Raises:
            ServingFailed: DEADLINE_EXCEEDED, also when its turn does not come in time; or the call's own.
        """
        try:
            async with asyncio.timeout(deadline.remaining_s), self._turn:
                outputs = await self._call(target, inputs, deadline)
        except TimeoutError:
            raise _explain_lateness(deadline.make_error()) from None
        except ServingFailed as failure:
            raise _explain_lateness(failure) from None
        self._counter.labels(target.model).inc(count_rows(inputs))
        return outputs


def _explain_lateness(failure: ServingFailed) -> ServingFailed:
    """What helps who asked for an explanation that came too late; any other failure as it is."""
    if failure.code is not grpc.StatusCode.DEADLINE_EXCEEDED:
        return failure
    return ServingFailed(failure.code, f"explain: {failure}; ask for fewer inputs at once, or allow more time")
