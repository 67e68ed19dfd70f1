"""How long each run of a graph takes that is a part of a measured call."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from time import perf_counter

from modelyard.services.modelserver.metrics.call import CURRENT_CALL
from modelyard.services.modelserver.runtime.servable import CancelCheck, Run, Servable
from modelyard.services.modelserver.runtime.tensor import Tensor


def measure_runs(servable: Servable) -> Servable:
    """A version whose runs are noted in the call that asked for them; of a batch, with the wait for it."""
    return replace(servable, run=partial(run_measured, servable.run))


def run_measured(
    run: Run, feeds: Mapping[str, Tensor], fetches: tuple[str, ...], check_cancelled: CancelCheck
) -> list[Tensor]:
    """``run``, whatever it raises."""
    call = CURRENT_CALL.get()
    if call is None:
        return run(feeds, fetches, check_cancelled)
    first = next(iter(feeds.values()), None)
    if first is not None and first.shape:
        call.rows = first.shape[0]
    began = perf_counter()
    outputs = run(feeds, fetches, check_cancelled)
    call.ran_s = perf_counter() - began
    return outputs
