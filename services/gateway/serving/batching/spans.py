"""Spans of requests that share a call: how long each waited, and the call, which is linked with all of them."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from modelyard.services.tracing.spans import CURRENT_SPAN, JoinedSpan, Span, Value

if TYPE_CHECKING:
    from modelyard.services.gateway.serving.batching.batcher import PendingRequest
    from modelyard.services.gateway.serving.batching.calls import Target

WAIT, CALL = "wait for the batch", "model call"


def record_waits(batch: "Sequence[PendingRequest]") -> None:
    """Ends the wait of each request: its call begins."""
    now = time.time_ns()
    for pending in batch:
        if pending.span is not None:
            pending.span.begin(WAIT, at_ns=pending.queued_ns).end(at_ns=now)


@contextmanager
def trace_call(batch: "Sequence[PendingRequest]", target: "Target") -> Iterator[None]:
    """A child ``model call`` of each request for the time of the block, and one of them for all that comes below.

    A request that has its answer, or an error, at the end of the block tells its own from it.
    """
    shared = describe(target) | {"modelyard.batch.requests": len(batch), "modelyard.batch.rows": count_rows(batch)}
    calls: list[tuple[PendingRequest, Span]] = [
        (pending, pending.span.begin(CALL, {**shared, "modelyard.rows": pending.size}))
        for pending in batch
        if pending.span is not None
    ]
    CURRENT_SPAN.set(join([span for _, span in calls]))
    try:
        yield
    finally:
        for pending, span in calls:
            future = pending.future
            span.end(failed=future.done() and not future.cancelled() and future.exception() is not None)


def join(spans: Sequence[Span]) -> Span:
    """One that stands for all that are recorded; if none is, one that says so to whoever is called."""
    recorded = [span for span in spans if span.is_recorded]
    return JoinedSpan(recorded) if len(recorded) > 1 else (recorded or spans)[0]


def describe(target: "Target") -> dict[str, Value]:
    version: dict[str, Value] = {} if target.version is None else {"modelyard.version": target.version}
    return {"modelyard.model": target.model, "modelyard.signature": target.signature} | version


def count_rows(batch: "Sequence[PendingRequest]") -> int:
    return sum(pending.size for pending in batch)
