"""``models.config``: nothing in it ends TensorFlow Serving, or stops its polling."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from modelyard.models.registry import manifest as manifests
from modelyard.models.registry import rollout as rollouts
from modelyard.models.registry.retention import find_removable, remove_version
from modelyard.models.registry.rollout import InvalidChange, NoPreviousVersion, change_rollout, read_rollout
from modelyard.models.registry.serving_config import CONFIG, LEFT_OUT
from modelyard.models.registry.serving_set import prepare_config, refresh_config, roll_back
from modelyard.models.registry.store import Store
from tests.support.fakes import publish
from tests.support.serving_config import (
    MODEL,
    OTHER,
    canary,
    labels,
    left_out,
    promote,
    publish_loaded,
    read_config,
    store,
    versions,
)

__all__ = ["store"]  # a fixture

GRAPH = "saved_model.pb"


def test_the_configuration_has_the_loaded_versions_and_their_labels(store: Store) -> None:
    """It parses, its base path is absolute, and the version before stands beside the stable one."""
    entry = read_config(store)[MODEL]
    assert (entry.base_path, entry.model_platform) == (str(store.folder(MODEL).resolve()), "tensorflow")
    assert (versions(store), labels(store)) == ({MODEL: [1, 2], OTHER: [1]}, {"stable": 2})
    third = publish(store, MODEL, stable=False)
    change_rollout(store, MODEL, lambda now: now.preload(third))
    assert (versions(store)[MODEL], labels(store)) == ([1, 2, 3], {"stable": 2})
    change_rollout(store, MODEL, canary(third))
    change_rollout(store, MODEL, lambda now: now.label("blue", 1, by="t", reason="r"))
    assert labels(store) == {"blue": 1, "canary": 3, "stable": 2}


@pytest.mark.parametrize("folder", ['with "quotes"', "with \\ backslash", "with space and ümlaut"])
def test_a_path_of_any_characters_is_written_as_it_is(tmp_path: Path, folder: str) -> None:
    """A file that cannot be parsed would end TensorFlow Serving."""
    store = Store(tmp_path / folder)
    store.prepare()
    publish(store, MODEL)
    assert read_config(store)[MODEL].base_path == str(store.folder(MODEL).resolve())
    refresh_config(store)
    assert versions(store) == {MODEL: [1]}


def test_a_model_without_a_rollout_is_not_in_the_configuration(tmp_path: Path) -> None:
    """TensorFlow Serving would wait for its first version for ever, and open no port."""
    store = Store(tmp_path)
    publish(store, MODEL, stable=False)
    prepare_config(store)
    assert versions(store) == {}
    assert not (store.root / LEFT_OUT).exists()


def change_a_byte(folder: Path) -> None:
    (folder / GRAPH).write_bytes(b"no graPh")


def cut_warmup(folder: Path) -> None:
    (folder / "assets.extra/tf_serving_warmup_requests").write_bytes(b"\0")


def forbid(folder: Path) -> None:
    (folder / manifests.FILE).write_text("{")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (change_a_byte, "saved_model.pb is missing, extra or changed"),
        (lambda folder: (folder / GRAPH).unlink(), "saved_model.pb is missing, extra or changed"),
        (cut_warmup, "tf_serving_warmup_requests is missing, extra or changed"),
        (forbid, "manifest of half_plus version 2 is damaged"),
        (shutil.rmtree, "model 'half_plus' has no version 2"),
    ],
    ids=["changed", "missing", "warm-up", "manifest", "gone"],
)
def test_at_a_start_a_version_that_is_not_whole_is_left_out_with_the_reason(
    store: Store, damage: Callable[[Path], object], reason: str
) -> None:
    """The version before stands in its place, without the label; other models are untouched."""
    damage(store.path(MODEL, 2))
    assert [each.version for each in prepare_config(store).versions] == [2]
    assert (versions(store), labels(store)) == ({MODEL: [1], OTHER: [1]}, {})
    assert reason in left_out(store)[MODEL, 2]


def test_a_model_of_which_no_version_is_whole_is_not_in_the_configuration(store: Store) -> None:
    """With one damaged version alone TensorFlow Serving would exit, and no other model be served."""
    change_a_byte(store.path(OTHER, 1))
    prepare_config(store)
    assert versions(store) == {MODEL: [1, 2]}
    for version in (1, 2):
        change_a_byte(store.path(MODEL, version))
    prepare_config(store)
    assert versions(store) == {}
    assert set(left_out(store)) == {(MODEL, 1), (MODEL, 2), (OTHER, 1)}


def test_where_no_wanted_version_is_whole_an_earlier_stable_one_is_loaded(store: Store) -> None:
    """After a rollback the stable version stands alone: there is another one all the same, if it was stable once."""
    publish(store, MODEL, stable=False)
    publish_loaded(store, MODEL)
    roll_back(store, MODEL, by="t", reason="r")
    assert versions(store)[MODEL] == [2]
    change_a_byte(store.path(MODEL, 2))
    prepare_config(store)
    assert (versions(store)[MODEL], labels(store)) == ([1], {})
    assert 1 not in [each.version for each in find_removable(store, MODEL, keep=1)]
    with pytest.raises(InvalidChange, match="version 1 is loaded in the place of a damaged one"):
        remove_version(store, MODEL, 1, by="gc", reason="old")


def test_what_is_whole_again_enters_by_itself_with_its_label(store: Store) -> None:
    """A backup was put back; until then files that have not changed are not read again and again."""
    graph = store.path(MODEL, 2) / GRAPH
    whole = graph.read_bytes()
    change_a_byte(store.path(MODEL, 2))
    prepare_config(store)
    before = (store.root / CONFIG).stat()
    refresh_config(store)
    assert (store.root / CONFIG).stat().st_mtime_ns == before.st_mtime_ns
    graph.write_bytes(whole)
    refresh_config(store)
    assert (versions(store)[MODEL], labels(store)) == ([1, 2], {"stable": 2})
    assert left_out(store) == {}


def test_a_damaged_version_does_not_enter_when_it_gets_a_role(store: Store) -> None:
    """Its files are checked first; what stands in the configuration stays loaded."""
    third = publish(store, MODEL, stable=False)
    change_a_byte(store.path(MODEL, third))
    change_rollout(store, MODEL, lambda now: now.preload(third))
    assert versions(store)[MODEL] == [1, 2]
    assert (MODEL, third) in left_out(store)
    change_rollout(store, MODEL, lambda now: now.reject(third, by="t", reason="damaged"))
    assert left_out(store) == {}


def test_damage_of_a_loaded_version_unloads_nothing_until_the_next_start(store: Store) -> None:
    """It answers from memory; a change of another rollout does not look at it."""
    change_a_byte(store.path(MODEL, 2))
    change_rollout(store, OTHER, promote(1))
    assert versions(store)[MODEL] == [1, 2]


def test_a_folder_that_is_away_unloads_nothing_until_the_next_start(store: Store) -> None:
    """A version, a model, or all of them, as when a volume is not mounted: what is loaded answers from memory."""
    before = (store.root / CONFIG).read_text()
    store.path(MODEL, 2).rename(store.root / ".version")
    refresh_config(store)
    store.folder(OTHER).rename(store.root / ".other")
    refresh_config(store)
    store.folder(MODEL).rename(store.root / ".model")
    refresh_config(store)
    assert (store.root / CONFIG).read_text() == before
    (store.root / CONFIG).unlink()
    refresh_config(store)
    assert not (store.root / CONFIG).exists()
    (store.root / ".model").rename(store.folder(MODEL))
    prepare_config(store)
    assert versions(store) == {MODEL: [1]}


def test_nobody_rolls_back_to_a_damaged_version(store: Store) -> None:
    """No model server has it loaded: the stable version stays, and the error says why."""
    change_a_byte(store.path(MODEL, 1))
    prepare_config(store)
    with pytest.raises(NoPreviousVersion, match=r"version 2 stays: half_plus version 1: saved_model.pb is missing"):
        roll_back(store, MODEL, by="t", reason="r")
    assert (read_rollout(store, MODEL).stable, versions(store)[MODEL]) == (2, [2])


def test_a_damaged_rollout_keeps_its_entry_and_stops_no_other_model(store: Store) -> None:
    """It is said; at a start the files of what stands there are checked as all others."""
    (store.folder(MODEL) / rollouts.FILE).write_text("{")
    publish_loaded(store, OTHER)
    assert versions(store) == {MODEL: [1, 2], OTHER: [1, 2]}
    change_a_byte(store.path(MODEL, 2))
    prepare_config(store)
    assert versions(store)[MODEL] == [1]
    assert "rollout of half_plus is damaged" in left_out(store)[MODEL, None]
