"""Versions coming and going: nothing that serves stops before its successor answers."""

import gc
import threading
from pathlib import Path

import numpy as np
import pytest

from modelyard.models.errors import ModelyardError
from modelyard.services.modelserver.doors import MANAGEMENT_THREADS
from modelyard.services.modelserver.lifecycle.loader import start_loader
from modelyard.services.modelserver.lifecycle.reconciler import Load
from modelyard.services.modelserver.runtime.servable import Servable
from modelyard.services.modelserver.settings import Settings
from tests.support.faults import Events, Traffic, events
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
    served,
    store,
)

__all__ = ["events", "saved", "serve", "served", "store"]  # fixtures


class HeldBack:
    """A loader that waits before loading the folders of one version, until released."""

    def __init__(self, version: int) -> None:
        self._name = str(version)
        self.reached = threading.Event()
        self.go = threading.Event()

    def __call__(self, settings: Settings) -> Load:
        real = start_loader(settings)

        def load(folder: Path) -> Servable:
            if folder.name == self._name:
                self.reached.set()
                assert self.go.wait(HELD_S)
            return real(folder)

        return load


@pytest.mark.parametrize("rounds", [1, pytest.param(2, marks=pytest.mark.long)])
def test_swaps_under_load_cause_no_failed_or_wrong_response(rounds: int, store: Store, serve: Serve) -> None:
    """While versions come and go every request gets a response, from the version that it names."""
    for version in (1, 2, 3):
        store.put("m", version)
    store.configure(store.entry("m", "specific { versions: 1 }"))
    served = serve()
    served.await_state(1, "AVAILABLE")
    with Traffic(served) as traffic:
        for old, new in [(1, 2), (2, 3), (3, 1)] * rounds:
            store.configure(store.entry("m", f"specific {{ versions: {new} }}"))
            served.await_state(new, "AVAILABLE")
            served.await_state(old, "END")
            seen = len(traffic.versions)
            eventually(lambda seen=seen: len(traffic.versions) > seen + 3, "answers")  # type: ignore[misc]  # bound now
    assert traffic.faults == []
    assert set(traffic.versions) == {1, 2, 3}


def test_new_folder_is_served_and_the_old_version_unloaded_after_it(store: Store, serve: Serve) -> None:
    """The policy ``latest`` follows the folders; ended versions stay in the status."""
    store.put("m", 1)
    store.configure(store.entry("m"))
    served = serve()
    served.await_state(1, "AVAILABLE")
    store.put("m", 2)
    served.await_state(2, "AVAILABLE")
    served.await_state(1, "END")
    assert [entry.version for entry in served.client.status("m", timeout_s=TIMEOUT_S)] == [1, 2]
    assert served.status(1).error_code == "OK"  # type: ignore[union-attr]  # its state was just seen
    np.testing.assert_array_equal(served.predict(2), X / 2 + 2)


def test_dropped_version_is_unloaded_only_after_its_calls_in_flight(store: Store, serve: Serve) -> None:
    """A call that began on a version ends on it: UNLOADING until then, END after."""
    model = Blocking()
    store.put("m", 1)
    store.configure(store.entry("m"))
    served = serve(start_loader=model)
    served.await_state(1, "AVAILABLE")
    call = served.prediction.Predict.future(request(x=X), timeout=HELD_S)
    assert model.running.wait(TIMEOUT_S)
    store.put("m", 2)
    served.await_state(1, "UNLOADING")
    np.testing.assert_array_equal(served.predict(2), X / 2 + 2)
    assert served.state(1) == "UNLOADING"
    model.go.set()
    assert call.result().model_spec.version.value == 1
    served.await_state(1, "END")


def test_wish_changed_during_a_load_is_followed_when_it_ends(store: Store, serve: Serve) -> None:
    """What loads meanwhile is dropped again, and the version that serves never stops."""
    store.put("m", 1)
    store.put("m", 2)
    held = HeldBack(2)
    store.configure(store.entry("m", "specific { versions: 1 }"))
    served = serve(start_loader=held)
    served.await_state(1, "AVAILABLE")
    with Traffic(served) as traffic:
        store.configure(store.entry("m", "specific { versions: 2 }"))
        assert held.reached.wait(TIMEOUT_S)
        store.put("other", 1)
        store.configure(store.entry("m", "specific { versions: 1 }"), store.entry("other"))
        served.await_state(1, "START", "other")
        held.go.set()
        served.await_state(2, "END")
    assert traffic.faults == []
    assert served.state(1) == "AVAILABLE"


def test_model_taken_out_of_the_configuration_is_unloaded(served: Served) -> None:
    """An explicit wish is followed."""
    served.store.configure()
    for version in (1, 2):
        served.await_state(version, "END")
    with pytest.raises(ModelyardError, match=r"Servable not found for request: Specific\(m, 1\)"):
        served.predict(1)


def test_configuration_that_cannot_be_read_changes_nothing_and_is_logged_once(served: Served, events: Events) -> None:
    """The old configuration stays in force until the file is good again."""
    bad = served.store.config.with_name("bad.config")
    bad.write_text("model_config_list {")
    bad.replace(served.store.config)  # at once: a poll between truncating and writing would be another refusal
    eventually(lambda: "config_rejected" in events.names, "refused")
    served.store.put("m", 3)
    served.await_state(3, "AVAILABLE")  # after more polls of the bad file
    assert events.names.count("config_rejected") == 1
    served.store.configure(served.store.entry("m", "specific { versions: 3 }"))
    served.await_state(1, "END")


def test_status_names_every_wanted_version_before_it_is_loaded(store: Store, serve: Serve) -> None:
    """START and LOADING are seen, the server is not ready, and what is loaded already answers."""
    for version in (1, 2, 3):
        store.put("m", version)
    held = HeldBack(2)
    store.configure(store.entry("m", "all {}"))
    served = serve(start_loader=held)
    assert held.reached.wait(TIMEOUT_S)
    assert [served.state(version) for version in (1, 2, 3)] == ["START", "LOADING", "AVAILABLE"]
    assert served.health() == "NOT_SERVING"
    assert served.health("tensorflow.serving.PredictionService") == "NOT_SERVING"
    np.testing.assert_array_equal(served.predict(3), X / 2 + 3)
    held.go.set()
    eventually(lambda: served.health() == "SERVING", "ready")
    assert served.state(1) == "AVAILABLE"


def test_status_of_unknown_model_or_version_is_not_found(served: Served) -> None:
    """With TensorFlow Serving's words."""
    with pytest.raises(ModelyardError, match="Could not find any versions of model x"):
        served.client.status("x", timeout_s=TIMEOUT_S)
    with pytest.raises(ModelyardError, match="Could not find version 9 of model m"):
        served.client.status("m", timeout_s=TIMEOUT_S, version=9)


@pytest.mark.parametrize("rounds", [4, pytest.param(25, marks=pytest.mark.long)])
def test_loads_and_unloads_leave_no_thread_and_no_model_behind(rounds: int, store: Store, serve: Serve) -> None:
    """Threads stay as many, and each unloaded version is really gone."""
    store.put("m", 1)
    store.put("m", 2)
    store.configure(store.entry("m", "specific { versions: 1 }"))
    served = serve()
    served.await_state(1, "AVAILABLE")

    def swap(old: int, new: int) -> None:
        store.configure(store.entry("m", f"specific {{ versions: {new} }}"))
        served.await_state(new, "AVAILABLE")
        served.await_state(old, "END")

    swap(1, 2)
    threads = threading.active_count()
    for _ in range(rounds):
        swap(2, 1)
        swap(1, 2)
    assert threading.active_count() <= threads + MANAGEMENT_THREADS  # which start as they are needed
    eventually(lambda: sum(isinstance(item, Servable) for item in gc.get_objects()) == 1, "the unloaded ones are gone")
