"""From the first moment to the last load: a client that waits, as TensorFlow Serving's own tests do, finds it ready."""

import os
import threading
from pathlib import Path

import grpc
import numpy as np
import pytest

from modelyard.models.tfserving.messages import get_model_metadata_pb2
from modelyard.services.modelserver.lifecycle.loader import start_loader
from modelyard.services.modelserver.lifecycle.reconciler import Load
from modelyard.services.modelserver.runtime.servable import Servable
from modelyard.services.modelserver.settings import Settings
from tests.support.faults import garble
from tests.support.modelserver import (
    HELD_S,
    TIMEOUT_S,
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


class Gated:
    """A loader that loads nothing of these models before it is released."""

    def __init__(self, *models: str) -> None:
        self._models = models
        self.go = threading.Event()

    def __call__(self, settings: Settings) -> Load:
        real = start_loader(settings)

        def load(folder: Path) -> Servable:
            if folder.parent.name in self._models:
                assert self.go.wait(HELD_S)
            return real(folder)

        return load


def predict(served: Served, model: str, version: int | None = None) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as refused:
        served.prediction.Predict(request(model, version=version, x=X), timeout=TIMEOUT_S)
    return refused.value.code(), refused.value.details()


def is_ready_by_their_rule(served: Served) -> bool:
    """``WaitForServerReady`` of ``tensorflow_model_server_test_base.py``: the error of a missing model names it."""
    _, details = predict(served, "intentionally_missing_model")
    return "Servable" in details


def test_a_client_that_waits_as_their_tests_do_finds_every_model_loaded(store: Store, serve: Serve) -> None:
    """Until then everything is UNAVAILABLE, which clients retry, and health says NOT_SERVING."""
    for model in ("m", "n"):
        store.put(model, 1)
    store.configure(store.entry("m"), store.entry("n"))
    gate = Gated("m", "n")
    served = serve(start_loader=gate)
    for model, version in (("m", None), ("n", 1), ("m", 7), ("intentionally_missing_model", None)):
        code, details = predict(served, model, version)
        assert code is grpc.StatusCode.UNAVAILABLE
        assert details.endswith("is being loaded; try again in a moment")
    assert not is_ready_by_their_rule(served)
    assert served.health() == "NOT_SERVING"
    gate.go.set()
    eventually(lambda: is_ready_by_their_rule(served), "ready")
    for model in ("m", "n"):
        np.testing.assert_array_equal(served.predict(1, model), X / 2 + 1)
    assert predict(served, "m", 7) == (grpc.StatusCode.NOT_FOUND, "Servable not found for request: Specific(m, 7)")
    assert served.health() == "SERVING"


def test_metadata_and_every_other_call_say_the_same(store: Store, serve: Serve) -> None:
    """One place finds versions for all of them; status calls have an answer already."""
    store.put("m", 1)
    store.configure(store.entry("m"))
    gate = Gated("m")
    served = serve(start_loader=gate)
    asked = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    asked.model_spec.name = "m"
    with pytest.raises(grpc.RpcError) as refused:
        served.prediction.GetModelMetadata(asked, timeout=TIMEOUT_S)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert served.state(1) in ("START", "LOADING")
    gate.go.set()


def test_what_is_loaded_answers_while_others_still_load(store: Store, serve: Serve) -> None:
    """One slow model holds up no other."""
    for model in ("quick", "slow"):
        store.put(model, 1)
    store.configure(store.entry("quick"), store.entry("slow"))
    gate = Gated("slow")
    served = serve(start_loader=gate)
    served.await_state(1, "AVAILABLE", "quick")
    np.testing.assert_array_equal(served.predict(1, "quick"), X / 2 + 1)
    assert predict(served, "slow")[0] is grpc.StatusCode.UNAVAILABLE
    gate.go.set()


@pytest.mark.skipif(os.cpu_count() == 1, reason="as many at once as there are cores")
def test_at_the_start_models_are_loaded_at_once_and_later_one_by_one(store: Store, serve: Serve) -> None:
    """Whom nobody answers yet need not be spared; then loads leave a core to predictions."""
    for model in ("m", "n"):
        store.put(model, 1)
    store.configure(store.entry("m"), store.entry("n"))
    gate = Gated("m", "n")
    served = serve(start_loader=gate)
    for model in ("m", "n"):
        served.await_state(1, "LOADING", model)
    gate.go.set()
    for model in ("m", "n"):
        served.await_state(1, "AVAILABLE", model)
    gate.go.clear()
    for model in ("m", "n"):
        store.put(model, 2)
    eventually(lambda: sorted(served.state(2, model) for model in ("m", "n")) == ["LOADING", "START"], "one load")
    gate.go.set()


def test_a_model_that_cannot_be_loaded_does_not_hold_up_the_start(store: Store, serve: Serve) -> None:
    """It was tried: from then on it is not there, and the others are."""
    store.put("bad", 1, garble)
    store.put("m", 1)
    store.configure(store.entry("bad"), store.entry("m"), store.entry("empty"))
    served = serve()
    eventually(lambda: is_ready_by_their_rule(served), "ready")
    np.testing.assert_array_equal(served.predict(1), X / 2 + 1)
    assert predict(served, "bad") == (grpc.StatusCode.NOT_FOUND, "Servable not found for request: Latest(bad)")


def test_a_model_that_is_added_later_is_unavailable_until_it_is_loaded(store: Store, serve: Serve) -> None:
    """A server without models is ready at once."""
    store.configure()
    gate = Gated("m")
    served = serve(start_loader=gate)
    eventually(lambda: is_ready_by_their_rule(served), "ready")
    store.put("m", 1)
    store.configure(store.entry("m"))
    eventually(lambda: served.state(1) in ("START", "LOADING"), "seen")
    assert predict(served, "m")[0] is grpc.StatusCode.UNAVAILABLE
    assert is_ready_by_their_rule(served)
    gate.go.set()
    served.await_state(1, "AVAILABLE")
