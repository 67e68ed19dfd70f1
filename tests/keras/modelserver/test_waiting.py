"""Callers that wait, and those that do not any more: no run is started for nobody."""

from collections.abc import Iterator

import grpc
import pytest

from modelyard.services.modelserver.api.prediction_service import require_active_call
from modelyard.services.modelserver.errors import Refused
from tests.support.modelserver import (
    HELD_S,
    TIMEOUT_S,
    Blocking,
    Serve,
    Served,
    Store,
    X,
    eventually,
    request,
    saved,
    serve,
    store,
)

__all__ = ["saved", "serve", "store"]  # fixtures


@pytest.fixture
def blocked(store: Store, serve: Serve) -> Iterator[tuple[Served, Blocking, grpc.Future]]:
    """A server whose only prediction thread is held by a call until ``go`` is set; that call."""
    store.put("m", 1)
    store.configure(store.entry("m"))
    model = Blocking()
    served = serve(start_loader=model, grpc_max_threads=1)
    served.await_state(1, "AVAILABLE")
    call = served.prediction.Predict.future(request(x=X), timeout=HELD_S)
    assert model.running.wait(TIMEOUT_S)
    yield served, model, call
    model.go.set()
    call.result()


@pytest.mark.parametrize("rounds", [2, pytest.param(20, marks=pytest.mark.long)])
def test_no_run_starts_after_its_deadline_or_cancellation(
    rounds: int, blocked: tuple[Served, Blocking, grpc.Future]
) -> None:
    """Calls that expired or were cancelled while they waited for a thread start no model run: 500 a round."""
    served, model, _ = blocked
    predict = served.prediction.Predict
    for _ in range(rounds):
        calls = [predict.future(request(x=X), timeout=HELD_S) for _ in range(450)]
        calls += [predict.future(request(x=X), timeout=0.001) for _ in range(50)]
        for call in calls[:450]:
            call.cancel()
        assert {call.code() for call in calls[:450]} == {grpc.StatusCode.CANCELLED}
        assert {call.code() for call in calls[450:]} == {grpc.StatusCode.DEADLINE_EXCEEDED}
    served.state(1)  # the connection keeps its order: what was sent before this has reached the server
    model.go.set()
    predict(request(x=X), timeout=TIMEOUT_S)  # on the same single thread, behind all of them
    assert model.runs == [1, 1]


def test_status_and_health_respond_while_every_prediction_thread_is_busy(
    blocked: tuple[Served, Blocking, grpc.Future],
) -> None:
    """They have threads of their own."""
    served, _, call = blocked
    assert served.state(1) == "AVAILABLE"
    eventually(served.is_serving, "ready")
    assert not call.done()


class Ending:
    """As much of a call's context as shows whether its client still waits."""

    def __init__(self, remaining_s: float | None, *, active: bool) -> None:
        self._remaining_s = remaining_s
        self._active = active

    def time_remaining(self) -> float | None:
        return self._remaining_s

    def is_active(self) -> bool:
        return self._active


@pytest.mark.parametrize(
    ("context", "code"),
    [
        (Ending(0.0, active=True), grpc.StatusCode.DEADLINE_EXCEEDED),
        (Ending(0.0, active=False), grpc.StatusCode.DEADLINE_EXCEEDED),
        (Ending(5.0, active=False), grpc.StatusCode.CANCELLED),
        (Ending(None, active=False), grpc.StatusCode.CANCELLED),
    ],
)
def test_call_that_ended_while_its_request_was_decoded_is_refused(context: Ending, code: grpc.StatusCode) -> None:
    """The last check is right before the run; a client that waits, with or without a deadline, passes it."""
    with pytest.raises(Refused) as caught:
        require_active_call(context)
    assert caught.value.code == code
    require_active_call(Ending(5.0, active=True))
    require_active_call(Ending(None, active=True))
