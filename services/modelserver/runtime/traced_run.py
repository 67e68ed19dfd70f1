"""A span around each run of a graph that is a part of a traced call."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from modelyard.services.modelserver.runtime.servable import CancelCheck, Run, Servable
from modelyard.services.modelserver.runtime.tensor import Tensor
from modelyard.services.tracing.spans import CURRENT_SPAN

RUN = "run"


def trace_runs(servable: Servable) -> Servable:
    """A version whose runs are spans, where there is one that they are a part of."""
    return replace(servable, run=partial(run_traced, servable.run))


def run_traced(
    run: Run, feeds: Mapping[str, Tensor], fetches: tuple[str, ...], check_cancelled: CancelCheck
) -> list[Tensor]:
    """``run``, whatever it raises."""
    parent = CURRENT_SPAN.get()
    if parent is None:
        return run(feeds, fetches, check_cancelled)
    span, failed = parent.begin(RUN), True
    try:
        outputs = run(feeds, fetches, check_cancelled)
        failed = False
    finally:
        span.end(failed=failed)
    return outputs
