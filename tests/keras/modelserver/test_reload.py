"""The model set changed by a call: new models are waited for, labels move only to what is available."""

import grpc
import numpy as np
import pytest
from google.protobuf import text_format

from modelyard.models.tfserving.messages import model_management_pb2
from tests.support.faults import events, garble
from tests.support.modelserver import TIMEOUT_S, Served, Store, X, eventually, request, saved, serve, served, store

__all__ = ["events", "saved", "serve", "served", "store"]  # fixtures


def reload(served: Served, *entries: str, timeout_s: float = TIMEOUT_S) -> None:
    message = model_management_pb2.ReloadConfigRequest()
    text_format.Parse(Store.text(*entries), message.config)
    served.models.HandleReloadConfigRequest(message, timeout=timeout_s)


def test_reload_call_waits_for_new_models_and_drops_absent_ones(served: Served) -> None:
    """When it returns, new models answer."""
    served.store.put("n", 3)
    reload(served, served.store.entry("n"))
    np.testing.assert_array_equal(served.predict(3, "n"), X / 2 + 3)
    served.await_state(1, "END")


def test_reload_call_names_new_models_that_failed(served: Served) -> None:
    """The call fails with the cause; models that were there go on."""
    served.store.put("n", 1, garble)
    with pytest.raises(grpc.RpcError) as caught:
        reload(served, served.store.entry("m", "all {}"), served.store.entry("n"))
    assert caught.value.code() == grpc.StatusCode.UNKNOWN
    assert "1 servable(s) did not become available: {{name: n version: 1} due to error:" in caught.value.details()
    assert served.state(1) == "AVAILABLE"


def test_label_moves_only_to_an_available_version(served: Served) -> None:
    """A label for a version that is not loaded yet is refused, and nothing changes."""
    with pytest.raises(grpc.RpcError) as caught:
        reload(served, served.store.entry("m", "all {}", {"old": 3}))
    assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert "Request to assign label to version 3 of model m" in caught.value.details()
    reload(served, served.store.entry("m", "all {}", {"old": 2}))
    assert served.prediction.Predict(request(label="old", x=X), timeout=TIMEOUT_S).model_spec.version.value == 2


def test_reload_call_refuses_what_is_not_a_list_of_models(served: Served) -> None:
    """An empty message is not a wish to unload everything."""
    with pytest.raises(grpc.RpcError) as caught:
        served.models.HandleReloadConfigRequest(model_management_pb2.ReloadConfigRequest(), timeout=TIMEOUT_S)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert served.state(1) == "AVAILABLE"


def test_memory_is_given_back_once_after_what_a_reload_brought(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """When nothing is left to load: not after each version, and not while nothing happens."""
    states: list[set[str]] = []
    give_back = "modelyard.services.modelserver.lifecycle.reconciler.give_back_freed_memory"
    monkeypatch.setattr(give_back, lambda: states.append({served.state(number, "n") for number in (1, 2)}))
    for number in (1, 2):
        served.store.put("n", number)
    reload(served, served.store.entry("m"), served.store.entry("n", "all {}"))
    eventually(lambda: {"AVAILABLE"} in states, "memory given back")
    reload(served, served.store.entry("m"), served.store.entry("n", "all {}"))
    assert states.count({"AVAILABLE"}) == 1
    assert set().union(*states) <= {"AVAILABLE", "START", ""}  # those before "n" came: what the fixture loaded
