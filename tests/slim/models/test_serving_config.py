"""``models.config``: nothing in it ends TensorFlow Serving or stops its polling, and labels follow the rollouts."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format

from modelyard.models.registry import manifest as manifests
from modelyard.models.registry import rollout as rollouts
from modelyard.models.registry.rollout import Canary, NoPreviousVersion, Rollout, change_rollout, read_rollout
from modelyard.models.registry.serving_config import CONFIG, LEFT_OUT, UNBOUND_S, read_left_out
from modelyard.models.registry.serving_set import prepare_config, refresh_config, roll_back
from modelyard.models.registry.store import Store
from modelyard.models.tfserving.messages import model_server_config_pb2
from tests.support.fakes import publish
from tests.support.waiting import wait_until

MODEL, OTHER = "half_plus", "other"
GRAPH = "saved_model.pb"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Versions 1 and 2 of one model, 2 is stable; version 1 of another."""
    store = Store(tmp_path / "store")
    store.prepare()
    for model in (MODEL, MODEL, OTHER):
        publish_loaded(store, model)
    return store


def publish_loaded(store: Store, model: str) -> int:
    """A new version that becomes stable as it usually does: loaded first."""
    version = publish(store, model, stable=False)
    change_rollout(store, model, lambda now: now.preload(version))
    change_rollout(store, model, promote(version))
    return version


def read_config(store: Store) -> dict[str, Any]:
    """The entries as TensorFlow Serving parses them, by model."""
    text = (store.root / CONFIG).read_text()
    parsed = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    return {entry.name: entry for entry in parsed.model_config_list.config}


def versions(store: Store) -> dict[str, list[int]]:
    return {name: list(entry.model_version_policy.specific.versions) for name, entry in read_config(store).items()}


def labels(store: Store, model: str = MODEL) -> dict[str, int]:
    return dict(read_config(store)[model].version_labels)


def left_out(store: Store) -> dict[tuple[str, int | None], str]:
    return {(each.model, each.version): each.reason for each in read_left_out(store).versions}


def promote(version: int) -> Callable[[Rollout], Rollout]:
    return lambda now: now.promote(version, by="t", reason="r")


def canary(version: int) -> Callable[[Rollout], Rollout]:
    started = Canary.model_validate({"version": version, "percent": 10, "since": "2026-11-01T00:00:00Z"})
    return lambda now: now.start_canary(started, by="t", reason="r")


# --- which versions ---------------------------------------------------------------------------------------------------


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


# --- an unpinned call gets the stable version ------------------------------------------------------------------------


def test_after_a_rollback_no_higher_version_is_loaded(store: Store) -> None:
    """A call that names no version gets the highest; so it gets the stable one, as by its label."""
    assert labels(store) == {"stable": 2}
    roll_back(store, MODEL, by="t", reason="r")
    assert (versions(store)[MODEL], labels(store)) == ([1], {"stable": 1})


def test_a_promotion_of_an_older_version_unloads_the_newer_one(store: Store) -> None:
    """The same; to go forth again is another promotion."""
    change_rollout(store, MODEL, promote(1))
    assert (versions(store)[MODEL], labels(store)) == ([1], {"stable": 1})


def test_a_start_unloads_what_a_lost_promotion_or_an_earlier_release_left_loaded(store: Store) -> None:
    """A version that nobody promoted, or that was rolled back from; never while a promotion is going on."""
    third = publish(store, MODEL, stable=False)
    change_rollout(store, MODEL, lambda now: now.preload(third))
    with store.lock(f"promote-{MODEL}"):
        prepare_config(store)
    assert versions(store)[MODEL] == [1, 2, 3]
    prepare_config(store)
    assert versions(store)[MODEL] == [1, 2]
    path = store.folder(MODEL) / rollouts.FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), "stable": 1, "keep": [2]}))
    prepare_config(store)
    assert versions(store)[MODEL] == [1]


# --- labels that TensorFlow Serving would refuse ----------------------------------------------------------------------


def test_a_label_moves_at_once_to_a_version_that_was_loaded_before(store: Store) -> None:
    """The usual promotion, a rollback, and another canary."""
    for version in (3, 4):
        publish(store, MODEL, stable=False)
        change_rollout(store, MODEL, lambda now, version=version: now.preload(version))
        change_rollout(store, MODEL, canary(version))
        assert labels(store) == {"stable": 2, "canary": version}
    change_rollout(store, MODEL, promote(4))
    assert labels(store) == {"stable": 4}
    roll_back(store, MODEL, by="t", reason="r")
    assert labels(store) == {"stable": 2}


def test_a_label_of_a_version_not_loaded_yet_is_taken_away_before_it_moves(store: Store) -> None:
    """Moved at once, TensorFlow Serving would refuse the whole file, and every later one, until it is restarted."""
    publish(store, MODEL)
    assert (versions(store)[MODEL], labels(store)) == ([2, 3], {})
    publish(store, MODEL)
    assert (versions(store)[MODEL], labels(store)) == ([3, 4], {})
    path = store.root / LEFT_OUT
    written = json.loads(path.read_text())
    assert [each["label"] for each in written["labels"]] == ["stable"]
    written["labels"][0]["since"] -= UNBOUND_S
    path.write_text(json.dumps(written))
    refresh_config(store)
    assert labels(store) == {"stable": 4}
    assert read_left_out(store).labels == ()


def test_such_a_label_moves_by_itself_when_its_time_has_passed(store: Store) -> None:
    """As the scheduler renders the file every few seconds."""
    publish(store, MODEL)
    began = time.time()
    wait_until(lambda: refresh_config(store).labels == (), 10 * UNBOUND_S, "the label is bound")
    assert labels(store) == {"stable": 3}
    assert (store.root / CONFIG).stat().st_mtime - began > UNBOUND_S / 2
