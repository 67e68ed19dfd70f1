"""``models.config``: an unpinned call gets the stable version, and labels follow the rollout."""

import json

from modelyard.models.registry import rollout as rollouts
from modelyard.models.registry.rollout import change_rollout
from modelyard.models.registry.serving_config import LEFT_OUT, UNBOUND_S, read_left_out
from modelyard.models.registry.serving_set import prepare_config, refresh_config, roll_back
from modelyard.models.registry.store import Store
from tests.support.fakes import publish
from tests.support.serving_config import (
    MODEL,
    canary,
    labels,
    promote,
    store,
    versions,
)

__all__ = ["store"]  # a fixture

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
