"""Rollouts: one file says which versions serve, and the model server's configuration follows from it."""

from pathlib import Path

import pytest
from google.protobuf import text_format

from models import rollout
from models.errors import CorruptData
from models.rollout import Canary, NothingToRollBackTo, Rollout
from models.store import Store
from models.tfserving import model_server_config_pb2

MODEL = "half_plus"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    store.folder(MODEL).mkdir()
    return store


def test_promotion_keeps_the_previous_stable_loaded() -> None:
    """The version before stays at hand for a rollback; older ones are let go."""
    found = Rollout().promote(1, by="t", reason="r").promote(2, by="t", reason="r").promote(3, by="t", reason="r")
    assert (found.stable, found.keep, found.loaded) == (3, (2,), (2, 3))


def test_a_preloaded_version_does_not_answer_and_can_be_dropped() -> None:
    """Preloading changes what is loaded, never which version is stable."""
    serving = Rollout().promote(1, by="t", reason="r")
    waiting = serving.preload(2)
    assert (waiting.stable, waiting.loaded) == (1, (1, 2))
    dropped = waiting.drop(2, by="t", reason="differs from training")
    assert (dropped.stable, dropped.loaded) == (1, (1,))
    assert dropped.history[-1].reason == "differs from training"


def promoted(*versions: int) -> Rollout:
    found = Rollout()
    for version in versions:
        found = found.promote(version, by="t", reason="r")
    return found


def test_a_rollback_goes_back_at_once_and_never_forth() -> None:
    """The version before is loaded and answers; a second call finds it not loaded, and does not go forth again."""
    back = promoted(1, 2, 3).rollback(by="ann", reason="wrong labels")
    assert (back.stable, back.keep) == (2, (3,))
    assert back.history[-1].detail == {"from": 3}
    with pytest.raises(NothingToRollBackTo, match="version 2 stays: version 1 is not loaded any more; promote it"):
        back.rollback(by="bob", reason="did it already")


def test_a_rollback_leaves_a_version_that_is_being_loaded_alone() -> None:
    """It goes to what answered before, not to what is about to; and that can be promoted as if nothing had been."""
    back = promoted(1, 2).preload(3).rollback(by="t", reason="r")
    assert (back.stable, back.loaded) == (1, (1, 2, 3))
    forth = back.promote(3, by="t", reason="r")
    assert (forth.stable, forth.previous) == (3, 1)
    assert forth.rollback(by="t", reason="r").stable == 1


def test_after_a_rollback_and_another_promotion_what_was_bad_is_not_gone_back_to() -> None:
    """1, 2, back to 1, 2 again, 3: before 3 came 2, and before that 1."""
    found = (
        promoted(1, 2).rollback(by="t", reason="r").promote(2, by="t", reason="mended").promote(3, by="t", reason="r")
    )
    assert found.previous == 2
    assert found.rollback(by="t", reason="r").previous == 1


@pytest.mark.parametrize("versions", [(), (1,), (1, 1)])
def test_with_nothing_before_it_there_is_nothing_to_roll_back_to(versions: tuple[int, ...]) -> None:
    """The error says what stays."""
    with pytest.raises(NothingToRollBackTo, match="stays: none answered before"):
        promoted(*versions).rollback(by="t", reason="r")


def test_promoting_the_stable_version_again_keeps_it() -> None:
    """No version is both stable and kept as its own predecessor."""
    found = Rollout().promote(1, by="t", reason="r").promote(1, by="t", reason="again")
    assert (found.stable, found.keep) == (1, ())


def test_every_role_is_loaded() -> None:
    """Canary and shadow are loaded too."""
    found = Rollout(stable=1, canary=Canary(version=2, percent=10), shadow=3, keep=(1,))
    assert found.loaded == (1, 2, 3)


def test_changes_are_written_and_the_configuration_parses(store: Store) -> None:
    """After a change, ``models.config`` is a valid ModelServerConfig with exactly the loaded versions."""
    rollout.change(store, MODEL, lambda now: now.promote(1, by="t", reason="r"))
    rollout.change(store, MODEL, lambda now: now.preload(2))
    assert rollout.read(store, MODEL).loaded == (1, 2)
    parsed = text_format.Parse((store.root / rollout.CONFIG).read_text(), model_server_config_pb2.ModelServerConfig())
    (config,) = parsed.model_config_list.config
    assert (config.name, config.model_platform) == (MODEL, "tensorflow")
    assert config.base_path == str(store.folder(MODEL).resolve())
    assert list(config.model_version_policy.specific.versions) == [1, 2]


def test_a_model_without_versions_is_left_out_of_the_configuration(store: Store) -> None:
    """An entry without versions would unload, or wait for, everything."""
    rollout.write_config(store)
    parsed = text_format.Parse((store.root / rollout.CONFIG).read_text(), model_server_config_pb2.ModelServerConfig())
    assert not parsed.model_config_list.config


def test_an_unknown_model_has_an_empty_rollout(store: Store) -> None:
    """Nothing was ever promoted: nothing serves."""
    assert rollout.read(store, "other") == Rollout()


def test_a_damaged_rollout_is_named(store: Store) -> None:
    """A file that cannot be parsed is an error of that model."""
    (store.folder(MODEL) / rollout.FILE).write_text("{")
    with pytest.raises(CorruptData, match="rollout of half_plus"):
        rollout.read(store, MODEL)


def test_history_is_bounded() -> None:
    """The newest changes are kept."""
    found = Rollout()
    for version in range(1, rollout.HISTORY + 10):
        found = found.promote(version, by="t", reason="r")
    assert len(found.history) == rollout.HISTORY
    assert found.history[-1].version == rollout.HISTORY + 9
