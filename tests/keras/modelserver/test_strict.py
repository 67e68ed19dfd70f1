"""``--strict``: the faults of TensorFlow Serving's start and reload."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from modelyard.services.modelserver.lifecycle import warmup
from modelyard.services.modelserver.lifecycle.strict import StartFailed
from tests.support.faults import Events, events, garble, truncate_variables
from tests.support.modelserver import (
    TIMEOUT_S,
    Serve,
    Served,
    Store,
    eventually,
    saved,
    serve,
    store,
)
from tests.support.ports import free_port
from tests.support.serving import listens
from tests.support.strict import LABELS, described_version, strict, version_of

__all__ = ["events", "saved", "serve", "store", "strict"]  # fixtures


@pytest.fixture
def background() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def break_warmup(folder: Path) -> None:
    (folder / warmup.FILE).parent.mkdir()
    (folder / warmup.FILE).write_bytes(b"no record")


# --- the faults -------------------------------------------------------------------------------------------------------


def test_one_damaged_model_ends_the_process_with_255_and_its_cause(store: Store) -> None:
    """The other model, which is whole, is not served either; the port is never opened."""
    store.put("m", 1)
    store.put("n", 1, garble)
    store.configure(store.entry("m"), store.entry("n"))
    flags = ("--strict", f"--port={free_port()}", f"--model_config_file={store.config}", "--max_num_load_retries=0")
    command = (sys.executable, "-m", "modelyard.services.modelserver", *flags)
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    said = [json.loads(line) for line in ended.stderr.splitlines() if line.startswith("{")]
    assert ended.returncode == 255
    assert said[-1]["event"] == "start_failed"
    assert "1 servable(s) did not become available: {{name: n version: 1} due to error:" in said[-1]["cause"]
    assert "listening" not in [each["event"] for each in said]


@pytest.mark.parametrize("damage", [truncate_variables, break_warmup], ids=["variables", "warm-up"])
def test_a_version_that_cannot_be_loaded_or_warmed_up_fails_the_start(
    store: Store, strict: Serve, damage: Callable[[Path], None]
) -> None:
    """If it is the only one of its model."""
    store.put("m", 1)
    store.put("n", 1, damage)
    store.configure(store.entry("m"), store.entry("n"))
    with pytest.raises(StartFailed, match=r"Failed to start server\. Error: .*\{name: n version: 1\} due to error"):
        strict()


def test_a_damaged_version_beside_a_whole_lower_one_does_not_fail_the_start(store: Store, strict: Serve) -> None:
    """As long as retries keep it from being given up before every model has an available one."""
    store.put("m", 1)
    store.put("m", 2, garble)
    store.configure(store.entry("m", "all {}"))
    served = strict(max_num_load_retries=100, load_retry_interval_micros=1_000_000)
    assert version_of(served) == 1


def test_a_damaged_version_that_was_given_up_fails_the_start_in_spite_of_a_whole_lower_one(
    store: Store, strict: Serve, background: ThreadPoolExecutor, events: Events
) -> None:
    """When the slowest model is available, each is judged by its highest version that has ended."""
    store.put("m", 1)
    store.put("m", 2, garble)
    store.configure(store.entry("m", "all {}"), store.entry("n", "all {}"))
    (store.root / "n").mkdir()
    starting = background.submit(strict)
    eventually(lambda: {"load_failed", "version_available"} <= set(events.names), "2 has failed, 1 is available")
    store.put("n", 1)
    with pytest.raises(StartFailed, match=r"\{name: m version: 2\} due to error"):
        starting.result(TIMEOUT_S)


@pytest.mark.parametrize("base_path", ["empty", "missing"])
def test_no_port_is_opened_while_a_model_has_no_version_folder(
    store: Store, strict: Serve, background: ThreadPoolExecutor, base_path: str
) -> None:
    """Not for the model that is there, either; when a version comes, the server starts."""
    store.put("m", 1)
    if base_path == "empty":
        (store.root / "n").mkdir()
    store.configure(store.entry("m"), store.entry("n"))
    port, loaded = free_port(), CountingLoads()
    starting: Future[Served] = background.submit(strict, port=port, start_loader=loaded)
    if base_path == "empty":
        eventually(lambda: loaded.count == 1, "the other model is loaded")
    assert not listens(port)
    assert not starting.done()
    store.put("n", 2)
    served = starting.result(TIMEOUT_S)
    assert (listens(port), version_of(served), version_of(served, "n")) == (True, 1, 2)


class CountingLoads:
    """The real loader; counts what it has loaded."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, settings: Any) -> Any:
        from modelyard.services.modelserver.lifecycle.loader import start_loader

        real = start_loader(settings)

        def load(folder: Path) -> Any:
            servable = real(folder)
            self.count += 1
            return servable

        return load


def test_a_reload_with_a_model_without_versions_stops_every_later_one(
    store: Store, strict: Serve, events: Events
) -> None:
    """No later configuration is followed, however good; a version of that model, and it goes on."""
    store.put("m", 1)
    store.configure(store.entry("m", "all {}"))
    served = strict()
    (store.root / "n").mkdir()
    store.configure(store.entry("m", "all {}"), store.entry("n"))
    eventually(lambda: events.names.count("config_applied") == 2, "the poll waits")
    store.configure(store.entry("m", "specific { versions: 1 }"))
    store.put("m", 2)
    served.await_state(2, "AVAILABLE")  # the folders are still looked at, by the configuration of before
    assert events.names.count("config_applied") == 2
    store.put("n", 1)
    served.await_state(2, "END")


def test_a_missing_base_path_stops_new_versions_of_all_models(store: Store, strict: Serve, events: Events) -> None:
    """It is said once; when it is there again, the others go on."""
    store.put("m", 1)
    store.put("n", 1)
    store.configure(store.entry("m"), store.entry("n"))
    served = strict()
    (store.root / "n").rename(store.root / "away")
    eventually(lambda: "base_path_missing" in events.names, "noticed")
    store.put("m", 2)
    assert version_of(served) == 1
    (store.root / "away").rename(store.root / "n")
    served.await_state(2, "AVAILABLE")
    assert events.names.count("base_path_missing") == 2, "missing, and missing no more"


# --- labels -----------------------------------------------------------------------------------------------------------


def test_labels_at_a_start_need_the_flag(store: Store, strict: Serve) -> None:
    """Without it the server does not start, as nothing is loaded when labels are read."""
    store.put("m", 1)
    store.configure(store.entry("m", labels={"stable": 1}))
    with pytest.raises(StartFailed, match="Request to assign label to version 1 of model m, which is not currently"):
        strict()
    assert version_of(strict(**LABELS), label="stable") == 1


def test_a_label_that_moves_to_a_version_not_loaded_stops_reloads_in_spite_of_the_flag(
    store: Store, strict: Serve, events: Events
) -> None:
    """A new label may name what comes; one that is bound moves to what is there only."""
    for version in (1, 2):
        store.put("m", version)
    store.configure(store.entry("m", "specific { versions: 1 }", {"stable": 1}))
    served = strict(**LABELS)
    store.configure(store.entry("m", "specific { versions: 1 versions: 2 }", {"stable": 2}))
    eventually(lambda: "config_rejected" in events.names, "refused")
    assert (version_of(served), version_of(served, label="stable"), served.state(2)) == (1, 1, "")
    store.configure(store.entry("m", "specific { versions: 1 versions: 2 }", {"stable": 1, "next": 2}))
    served.await_state(2, "AVAILABLE")
    assert version_of(served, label="next") == 2


@pytest.mark.parametrize("label", ["Stable", "nobody", "2"])
def test_an_unknown_label_is_refused_in_their_words(store: Store, strict: Serve, label: str) -> None:
    """Of a prediction, of metadata; a label whose version is not loaded is not found."""
    store.put("m", 1)
    store.configure(store.entry("m", labels={"stable": 1, "gone": 7}))
    served = strict(**LABELS)
    for name, code, text in (
        (label, grpc.StatusCode.INVALID_ARGUMENT, f"Unrecognized servable version label: {label}"),
        ("gone", grpc.StatusCode.NOT_FOUND, "Servable not found for request: Specific(m, 7)"),
    ):
        for ask in (version_of, described_version):
            with pytest.raises(grpc.RpcError) as refused:
                ask(served, label=name)
            assert (refused.value.code(), refused.value.details()) == (code, text)
    assert described_version(served, label="stable") == 1
