"""Versions that are copied in place, file by file: never loaded in part, always loaded in the end."""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from modelyard.models.registry import manifest
from modelyard.services.modelserver.lifecycle.loader import start_loader
from modelyard.services.modelserver.lifecycle.reconciler import Load
from modelyard.services.modelserver.lifecycle.source import Candidate, look_at
from modelyard.services.modelserver.runtime.servable import Servable
from modelyard.services.modelserver.settings import Settings
from tests.support.faults import Traffic, garble
from tests.support.modelserver import HELD_S, Serve, Served, Store, X, eventually, saved, serve, served, store

__all__ = ["saved", "serve", "served", "store"]  # fixtures

GRAPH, INDEX, DATA = "saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"


@pytest.fixture
def serving(store: Store, serve: Serve) -> Served:
    """A server whose version 1 of ``m`` answers, and that tries a version once, unless its files change."""
    store.put("m", 1)
    store.configure(store.entry("m"))
    served = serve(max_num_load_retries=0)
    served.await_state(1, "AVAILABLE")
    return served


def copy(names: Iterable[str], source: Path, target: Path) -> None:
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source / name, target / name)


def says(served: Served, code: str, cause: str) -> bool:
    """Whether version 2 has failed for this cause."""
    found = served.status(2)
    return found is not None and (found.state, found.error_code) == ("END", code) and cause in found.error_message


@pytest.mark.parametrize(
    ("first", "code", "cause"),
    [
        ((GRAPH,), "DATA_LOSS", "variables/variables.index is missing, and the graph has variables"),
        pytest.param(
            *((GRAPH, DATA), "DATA_LOSS", "variables/variables.index is missing, and the graph has variables"),
            marks=pytest.mark.long,
        ),
        ((GRAPH, INDEX), "NOT_FOUND", "variables"),
        pytest.param(
            *((DATA, INDEX), "NOT_FOUND", "Could not find SavedModel .pb or .pbtxt at"), marks=pytest.mark.long
        ),
        pytest.param((), "NOT_FOUND", "Could not find SavedModel .pb or .pbtxt at", marks=pytest.mark.long),
    ],
)
def test_a_version_that_arrives_file_by_file_replaces_the_old_one_when_it_is_whole(
    serving: Served, store: Store, first: tuple[str, ...], code: str, cause: str
) -> None:
    """Until then the old one answers every request, and the status names what is missing."""
    folder = store.root / "m" / "2"
    folder.mkdir()
    with Traffic(serving) as traffic:
        copy(first, store.saved[2], folder)
        eventually(lambda: says(serving, code, cause), f"{code}: {cause}")
        assert serving.state(1) == "AVAILABLE"
        copy({GRAPH, INDEX, DATA} - set(first), store.saved[2], folder)
        serving.await_state(2, "AVAILABLE")
        serving.await_state(1, "END")
    assert traffic.faults == []
    np.testing.assert_array_equal(serving.predict(2), X / 2 + 2)


def test_a_version_that_was_damaged_is_loaded_once_its_files_are_whole(serving: Served, store: Store) -> None:
    """Also if the copy keeps size and times of what was there before."""
    right = (store.saved[2] / DATA).read_bytes()
    folder = store.put("m", 2, lambda folder: (folder / DATA).write_bytes(bytes(len(right))))
    times = (folder / DATA).stat()
    assert serving.await_state(2, "END").error_code == "DATA_LOSS"
    (folder / DATA).write_bytes(right)
    shutil.copystat(store.saved[2] / DATA, folder / DATA)
    assert (folder / DATA).stat().st_size == times.st_size
    serving.await_state(2, "AVAILABLE")


def test_variables_behind_a_link_are_waited_for_too(serving: Served, store: Store) -> None:
    """As where large files are kept elsewhere: what a link leads to is a part of the version."""
    elsewhere = store.root.parent / "elsewhere"
    elsewhere.mkdir()

    def link(folder: Path) -> None:
        shutil.rmtree(folder / "variables")
        (folder / "variables").symlink_to(elsewhere)

    store.put("m", 2, link)
    serving.await_state(2, "END")
    copy((Path(INDEX).name, Path(DATA).name), store.saved[2] / "variables", elsewhere)
    serving.await_state(2, "AVAILABLE")
    np.testing.assert_array_equal(serving.predict(2), X / 2 + 2)


def without_variables_or_saver(folder: Path) -> None:
    """As of a writer that does not say what it restores."""
    shutil.rmtree(folder / "variables")
    graph = saved_model_pb2.SavedModel.FromString((folder / GRAPH).read_bytes())
    graph.meta_graphs[0].ClearField("saver_def")
    (folder / GRAPH).write_bytes(graph.SerializeToString())


def test_a_version_that_cannot_run_replaces_none(serving: Served, store: Store) -> None:
    """Without recorded requests it is run once; what TensorFlow says of it is in the status."""
    store.put("m", 2, without_variables_or_saver)
    found = serving.await_state(2, "END")
    assert found.error_code in ("NOT_FOUND", "FAILED_PRECONDITION")
    assert found.error_message.startswith("a first run of serving_default failed: ")
    np.testing.assert_array_equal(serving.predict(1), X / 2 + 1)


def stateless(folder: Path) -> None:
    """A graph without variables, in a copy that left its empty checkpoint out."""
    replace_graph(folder, lambda x: x / 2 + 2, tf.float32)
    shutil.rmtree(folder / "variables")


def picky(folder: Path) -> None:
    """No image is empty."""
    replace_graph(folder, lambda x: tf.map_fn(tf.io.decode_png, x, fn_output_signature=tf.uint8), tf.string)


def replace_graph(folder: Path, compute: Callable[[Any], Any], dtype: Any) -> None:
    shutil.rmtree(folder)
    module = tf.Module()
    signature = [tf.TensorSpec([None], dtype, name="x")]
    module.serve = tf.function(lambda x: {"y": compute(x)}, input_signature=signature)
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})


@pytest.mark.parametrize("edit", [stateless, picky])
def test_a_version_that_needs_no_variables_or_refuses_zeros_is_served(
    serving: Served, store: Store, edit: Callable[[Path], None]
) -> None:
    """Only what no input could change is a reason to refuse a version."""
    store.put("m", 2, edit)
    serving.await_state(2, "AVAILABLE")


def test_files_that_change_during_a_load_are_loaded_again(store: Store, serve: Serve) -> None:
    """What was read may be a mixture of two states: nobody is answered by it."""
    loads: list[Path] = []

    def start(settings: Settings) -> Load:
        real = start_loader(settings)

        def load(folder: Path) -> Servable:
            servable = real(folder)
            loads.append(folder)
            if len(loads) == 1:
                (folder / "assets").mkdir(exist_ok=True)
                (folder / "assets" / "words.txt").write_text("late")
            return servable

        return load

    store.put("m", 1)
    store.configure(store.entry("m"))
    served = serve(start_loader=start, max_num_load_retries=0)
    served.await_state(1, "AVAILABLE")
    assert len(loads) == 2


def test_a_growing_folder_waits_until_it_is_quiet(tmp_path: Path) -> None:
    """Between two looks nothing may have changed; then it is settled for good, until something does."""
    quiet_s = 0.05
    copy_of = tmp_path / "2"
    copy_of.mkdir()
    (copy_of / GRAPH).write_bytes(b"a part")
    seen = look_at(copy_of, None, quiet_s)
    assert not seen.settled
    assert not look_at(copy_of, seen, HELD_S).settled
    with (copy_of / GRAPH).open("ab") as file:
        file.write(b" and another")
    grown = look_at(copy_of, seen, quiet_s)
    assert not grown.settled

    def look() -> Candidate:
        return look_at(copy_of, grown, quiet_s)

    eventually(lambda: look().settled, "quiet")
    assert look_at(copy_of, look(), HELD_S).settled


def test_a_folder_with_a_manifest_is_tried_at_once_and_one_nobody_watches_too(tmp_path: Path) -> None:
    """The first says what is missing; of the second there is no other look."""
    folder = tmp_path / "2"
    (folder / manifest.FILE).parent.mkdir(parents=True)
    (folder / manifest.FILE).write_text("{}")
    assert look_at(folder, None, HELD_S).settled
    garble(folder)
    (folder / manifest.FILE).unlink()
    assert not look_at(folder, None, HELD_S).settled
    assert look_at(folder, None, 0.0).settled
