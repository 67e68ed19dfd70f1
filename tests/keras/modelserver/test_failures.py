"""Versions that cannot be loaded: the cause is named, tries are bounded, what serves goes on serving."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from modelyard.services.modelserver.lifecycle.loader import start_loader
from modelyard.services.modelserver.lifecycle.reconciler import Load
from modelyard.services.modelserver.runtime.servable import Servable
from modelyard.services.modelserver.settings import Settings
from tests.support.faults import Events, Traffic, events, flip_a_byte, garble, sealed, truncate_variables
from tests.support.modelserver import Serve, Store, X, eventually, saved, serve, served, store

__all__ = ["events", "saved", "serve", "served", "store"]  # fixtures


@pytest.mark.parametrize(
    ("damage", "code", "cause"),
    [
        (truncate_variables, "OUT_OF_RANGE", "Read less bytes than requested"),
        (garble, "DATA_LOSS", "Can't parse m/2/saved_model.pb as binary proto"),
        (
            lambda folder: (folder / "saved_model.pb").unlink(),
            "NOT_FOUND",
            "Could not find SavedModel .pb or .pbtxt at",
        ),
        (sealed(flip_a_byte), "DATA_LOSS", "variables/variables.index is missing, extra or changed"),
        (sealed(garble), "DATA_LOSS", "saved_model.pb is missing, extra or changed"),
    ],
)
def test_old_version_keeps_serving_when_new_one_is_corrupt(
    store: Store, serve: Serve, damage: Callable[[Path], object], code: str, cause: str
) -> None:
    """The status of the corrupt version is END and names the cause; the old one answers throughout."""
    store.put("m", 1)
    store.configure(store.entry("m"))
    served = serve()
    served.await_state(1, "AVAILABLE")
    with Traffic(served) as traffic:
        store.put("m", 2, damage)
        found = served.await_state(2, "END")
    assert found.error_code == code
    assert cause in found.error_message
    assert str(store.root) not in found.error_message
    assert traffic.faults == []
    assert served.state(1) == "AVAILABLE"


def test_old_version_keeps_serving_when_there_is_no_memory_for_a_second(store: Store, serve: Serve) -> None:
    """The load is refused as RESOURCE_EXHAUSTED."""

    def start(settings: Settings) -> Load:
        real = start_loader(settings)

        def load(folder: Path) -> Servable:
            if folder.name == "2":
                raise MemoryError
            return real(folder)

        return load

    store.put("m", 1)
    store.configure(store.entry("m"))
    served = serve(start_loader=start)
    served.await_state(1, "AVAILABLE")
    store.put("m", 2)
    assert served.await_state(2, "END").error_code == "RESOURCE_EXHAUSTED"
    np.testing.assert_array_equal(served.predict(1), X / 2 + 1)


def test_version_with_a_true_manifest_is_served(store: Store, serve: Serve) -> None:
    """Checksums that hold let a version through."""
    store.put("m", 1, sealed())
    store.configure(store.entry("m"))
    serve().await_state(1, "AVAILABLE")


def test_failed_version_is_tried_again_a_bounded_number_of_times(store: Store, serve: Serve, events: Events) -> None:
    """One try and ``max_num_load_retries`` more, then none; each failure is one line in the log."""
    tries: list[Path] = []

    def start(settings: Settings) -> Load:
        real = start_loader(settings)

        def load(folder: Path) -> Servable:
            tries.append(folder)
            return real(folder)

        return load

    store.put("bad", 1, garble)
    store.put("good", 1)
    store.configure(store.entry("bad"))
    served = serve(start_loader=start, max_num_load_retries=2, load_retry_interval_micros=1000)
    eventually(lambda: events.names.count("load_failed") == 3, "three tries that are over")
    store.configure(store.entry("bad"), store.entry("good"))  # a changed configuration allows three more
    eventually(lambda: len(tries) == 7, "three more, and the good one")
    served.await_state(1, "AVAILABLE", "good")
    eventually(lambda: events.names.count("load_failed") == 6, "a line for each failure")
    assert len(tries) == 7


def test_failed_version_is_tried_again_when_its_folder_changes(store: Store, serve: Serve) -> None:
    """Repairing the folder is enough."""
    folder = store.put("m", 1, garble)
    store.configure(store.entry("m"))
    served = serve(max_num_load_retries=0)
    served.await_state(1, "END")
    (folder / "saved_model.pb").write_bytes((store.saved[1] / "saved_model.pb").read_bytes())
    served.await_state(1, "AVAILABLE")
    assert served.status(1).error_message == ""  # type: ignore[union-attr]  # its state was just seen


@pytest.mark.parametrize("policy", ["", "all {}", "specific { versions: 2 }"])
def test_missing_folders_never_unload_the_last_good_version(store: Store, serve: Serve, policy: str) -> None:
    """Neither a vanished base path nor wanted versions that are not there stop the one that serves."""
    store.put("m", 1)
    store.put("other", 1)
    store.configure(store.entry("m"), store.entry("other"))
    served = serve()
    served.await_state(1, "AVAILABLE")
    (store.root / "m").rename(store.root / "gone")
    store.configure(store.entry("m", policy), store.entry("other"))
    store.put("other", 2)
    served.await_state(2, "AVAILABLE", "other")  # so the vanished base path was polled too
    assert served.state(1) == "AVAILABLE"
    np.testing.assert_array_equal(served.predict(1), X / 2 + 1)


def test_wanted_version_without_a_folder_is_named_with_the_cause(store: Store, serve: Serve) -> None:
    """``specific`` names it, so the status does too; it is served as soon as it appears."""
    store.configure(store.entry("m", "specific { versions: 3 }"))
    served = serve()
    found = served.await_state(3, "END")
    assert (found.error_code, found.error_message) == ("NOT_FOUND", "the version's folder does not exist")
    store.put("m", 3)
    served.await_state(3, "AVAILABLE")
