"""A model server inside this process: its calls run in threads, so that the event loop never waits for a model.

No message is made of a prediction: arrays go in and come out. TensorFlow computes without the interpreter's lock.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import grpc
import structlog

from modelyard.models.tfserving.messages import ServingFailed
from modelyard.services.gateway.serving.batching.calls import Outputs
from modelyard.services.gateway.serving.servers.local_server import (
    EmbeddedServer,
    Refused,
    WarmThreads,
    truncate_message,
)
from modelyard.services.gateway.serving.servers.replicas import (
    AVOID_S,
    CLASSIFY,
    METADATA,
    PREDICT,
    REGRESS,
    STATUS,
    PredictCall,
)
from modelyard.services.gateway.settings import LOCAL
from modelyard.services.tracing.spans import CURRENT_SPAN, Span

MANAGEMENT_THREADS = 4
"""For states and metadata, which are then read while every other thread computes."""

log = structlog.get_logger()


class LocalReplica:
    """The model server of this process."""

    address = LOCAL

    def __init__(self, server: EmbeddedServer, clock: Callable[[], float] = time.monotonic) -> None:
        self._server = server
        self._clock = clock
        self.in_flight = 0
        self.avoid_until = 0.0
        self._inference = CallThreads("predict", server.settings.grpc_max_threads)
        self._management = CallThreads("manage", MANAGEMENT_THREADS)

    async def call(self, method: str, request: Any, timeout_s: float) -> Any:
        """One call; raises ``ServingFailed`` with the code and text that the server would send over gRPC."""
        threads = self._inference if method in (PREDICT, CLASSIFY, REGRESS) else self._management
        self.in_flight += 1
        try:
            answer = await threads.run(lambda call: self._answer(method, request, call), timeout_s)
        except ServingFailed as failure:
            if failure.code is grpc.StatusCode.UNAVAILABLE:
                self.avoid_until = self._clock() + AVOID_S
            raise
        finally:
            self.in_flight -= 1
        self.avoid_until = 0.0
        return answer

    def was_reached(self) -> bool:
        """False if the last call was refused as UNAVAILABLE."""
        return self.avoid_until == 0.0

    def is_connected(self) -> bool:
        """It is in this process."""
        return True

    async def close(self, grace_s: float | None = None) -> None:  # noqa: ARG002  # calls in progress are never cut off
        """Ends the threads, once they have nothing to do."""
        self._inference.close()
        self._management.close()

    def _answer(self, method: str, request: Any, call: "Call") -> Any:
        if method == PREDICT:
            return self._predict(request, call)
        if method == STATUS:
            return self._server.get_status(request)
        if method == METADATA:
            return self._server.get_metadata(request)
        run = self._server.classify if method == CLASSIFY else self._server.regress
        return run(request, call.require_waiting)

    def _predict(self, request: PredictCall, call: "Call") -> Outputs:
        (model, version, signature), inputs = request.target, request.inputs
        number, arrays = self._server.predict(model, version, signature, inputs, call.require_waiting)
        return Outputs(arrays, number)


@dataclass(eq=False)
class Call:
    """One call: what a thread runs, and the future that waits on the event loop for what comes of it."""

    work: Callable[["Call"], Any]
    ends_at: float
    """On the monotonic clock."""
    loop: asyncio.AbstractEventLoop
    span: Span | None = field(default_factory=CURRENT_SPAN.get)
    """None where nothing is traced."""
    wait: Span | None = field(init=False)
    """For a thread."""
    future: "asyncio.Future[Any]" = field(init=False)

    def __post_init__(self) -> None:
        self.future = self.loop.create_future()
        self.wait = None if self.span is None else self.span.begin("wait for a thread")

    def expire(self) -> None:
        """Its time is up: whoever waits is told so now, and the model is not run if it has not begun."""
        if not self.future.done():
            self.future.set_exception(ServingFailed(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"))

    def require_waiting(self) -> None:
        """Raises ``Refused`` if nobody waits any more: right before the model would run."""
        if time.monotonic() >= self.ends_at:
            text = "the deadline passed before the model was run"
            raise Refused(grpc.StatusCode.DEADLINE_EXCEEDED, text)
        if self.future.done():
            raise Refused(grpc.StatusCode.CANCELLED, "the call was cancelled before the model was run")

    def run(self) -> None:
        """Does the work, in a thread, and hands the outcome to the event loop."""
        if self.wait is not None:
            self.wait.end()
        if self.future.done():
            return
        CURRENT_SPAN.set(self.span)  # of this thread, until its next call
        answer, failure = None, None
        try:
            answer = self.work(self)
        except Refused as refusal:
            failure = ServingFailed(refusal.code, truncate_message(str(refusal)))
        except Exception:  # the outermost boundary of a call: the cause goes to the log, not to the client
            log.exception("call_failed")
            failure = ServingFailed(grpc.StatusCode.INTERNAL, "Internal error")
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            self.loop.call_soon_threadsafe(self._finish, answer, failure)

    def _finish(self, answer: Any, failure: ServingFailed | None) -> None:
        if self.future.done():
            return
        if failure is None:
            self.future.set_result(answer)
        else:
            self.future.set_exception(failure)


class CallThreads:
    """A fixed number of threads that run calls in the order in which they come."""

    def __init__(self, name: str, count: int) -> None:
        self._threads = WarmThreads(count, name)

    async def run(self, work: Callable[[Call], Any], timeout_s: float) -> Any:
        """What the work returns.

        Raises:
            ServingFailed: what the work refused; DEADLINE_EXCEEDED as soon as the time is up, whatever the work does.
        """
        loop = asyncio.get_running_loop()
        call = Call(work, time.monotonic() + timeout_s, loop)
        timer = loop.call_later(timeout_s, call.expire)
        try:
            self._threads.start(call.run)
            return await call.future
        finally:
            timer.cancel()

    def close(self) -> None:
        """Ends the threads, each after what it runs."""
        self._threads.shutdown(wait=False)
