"""Rollouts: one file says which versions serve, and the model server's configuration follows from it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from modelyard.models.errors import CorruptData
from modelyard.models.registry import rollout
from modelyard.models.registry.roles.canary import Canary
from modelyard.models.registry.rollout import (
    HISTORY_FILE,
    MAX_HISTORY,
    InvalidChange,
    NoPreviousVersion,
    Rollout,
    Shadow,
    change_rollout,
    read_history,
    read_rollout,
)
from modelyard.models.registry.store import Store

MODEL = "half_plus"
NOW = datetime(2026, 11, 1, tzinfo=UTC)


def canary(version: int, percent: float = 10, since: datetime = NOW) -> Canary:
    return Canary(version=version, percent=percent, since=since)


def shadow(version: int) -> Shadow:
    return Shadow(version=version, since=NOW)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    store.folder(MODEL).mkdir()
    return store


def test_promotion_keeps_the_previous_stable_loaded() -> None:
    """The previous version stays loaded for a rollback; older ones are unloaded."""
    found = Rollout().promote(1, by="t", reason="r").promote(2, by="t", reason="r").promote(3, by="t", reason="r")
    assert (found.stable, found.keep, found.loaded) == (3, (2,), (2, 3))


def test_a_preloaded_version_is_not_stable_and_can_be_dropped() -> None:
    """Preloading changes what is loaded, never which version is stable."""
    serving = Rollout().promote(1, by="t", reason="r")
    waiting = serving.preload(2)
    assert (waiting.stable, waiting.loaded) == (1, (1, 2))
    dropped = waiting.reject(2, by="t", reason="differs from training")
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
    assert (back.stable, back.loaded) == (2, (2,))
    assert back.history[-1].detail == {"from": 3}
    with pytest.raises(NoPreviousVersion, match="version 2 stays: version 1 is not loaded any more; promote it"):
        back.rollback(by="bob", reason="did it already")


def test_a_rollback_leaves_a_version_that_is_being_loaded_alone() -> None:
    """It goes to the previous stable version, not to the preloaded one, which can still be promoted."""
    back = promoted(1, 2).preload(3).rollback(by="t", reason="r")
    assert (back.stable, back.loaded) == (1, (1, 3))
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


def test_the_stable_version_is_the_highest_that_is_kept() -> None:
    """A model server gives unpinned calls the highest: after a rollback, and when an older version is promoted."""
    older = promoted(1, 2, 4).promote(3, by="t", reason="older")
    assert (older.stable, older.loaded) == (3, (3,))
    with pytest.raises(NoPreviousVersion, match="version 3 stays: version 4 is not loaded any more; promote it"):
        older.rollback(by="t", reason="r")
    forth = promoted(1, 2).rollback(by="t", reason="r").preload(2).promote(2, by="t", reason="mended")
    assert (forth.stable, forth.loaded) == (2, (1, 2))


@pytest.mark.parametrize("versions", [(), (1,), (1, 1)])
def test_with_nothing_before_it_there_is_nothing_to_roll_back_to(versions: tuple[int, ...]) -> None:
    """The error says what stays."""
    with pytest.raises(NoPreviousVersion, match="stays: none answered before"):
        promoted(*versions).rollback(by="t", reason="r")


def test_promoting_the_stable_version_again_keeps_it() -> None:
    """No version is both stable and its own predecessor."""
    found = Rollout().promote(1, by="t", reason="r").promote(1, by="t", reason="again")
    assert (found.stable, found.keep) == (1, ())


def test_every_role_is_loaded() -> None:
    """Canary, shadow and what a person named are loaded too, and have names."""
    found = Rollout(stable=1, canary=canary(2), shadow=shadow(3), labels={"blue": 4}, keep=(1,))
    assert found.loaded == (1, 2, 3, 4)
    assert found.all_labels == {"stable": 1, "canary": 2, "shadow": 3, "blue": 4}


def test_a_canary_begins_ends_and_leaves_what_was_loaded_before() -> None:
    """Another share of the same version is the same trial; the version before the stable one stays at hand."""
    start = promoted(1, 2).preload(3)
    begun = start.start_canary(canary(3), by="t", reason="r")
    assert (begun.stable, begun.keep, begun.loaded) == (2, (1,), (1, 2, 3))
    wider = begun.start_canary(canary(3, percent=50, since=NOW + timedelta(hours=1)), by="t", reason="r")
    assert (wider.canary and wider.canary.percent, wider.canary and wider.canary.since) == (50, NOW)
    ended = wider.end_canary(by="judge", reason="slower", detail={"e": 120})
    assert (ended.canary, ended.loaded) == (None, (1, 2))
    assert [change.action for change in ended.history[-3:]] == ["canary", "canary", "end canary"]
    with pytest.raises(InvalidChange, match="no canary"):
        ended.end_canary(by="t", reason="r")


def test_the_version_before_can_be_tried_again_and_is_still_gone_back_to() -> None:
    """As a canary that ends, it stays loaded."""
    tried = promoted(1, 2).start_canary(canary(1), by="t", reason="r")
    assert tried.rollback(by="t", reason="r").stable == 1
    assert tried.end_canary(by="t", reason="r").loaded == (1, 2)


def test_a_promoted_canary_is_one_no_more_and_another_begins_anew() -> None:
    """It was compared with a version that is not stable any more; a rollback ends it."""
    begun = promoted(1).start_canary(canary(2), by="t", reason="r")
    assert begun.promote(2, by="t", reason="r").canary is None
    other = begun.promote(3, by="t", reason="r").canary
    assert other
    assert (other.version, other.since > NOW) == (2, True)
    back = begun.promote(3, by="t", reason="r").rollback(by="t", reason="r")
    assert (back.stable, back.canary) == (1, None)


def test_trials_need_a_stable_version_to_be_compared_with() -> None:
    """Which is another one."""
    for rollout_now, version, why in ((Rollout(), 1, "no version is|would be alone"), (promoted(1), 1, "is stable")):
        with pytest.raises(InvalidChange, match=why):
            rollout_now.start_canary(canary(version), by="t", reason="r")
        with pytest.raises(InvalidChange, match=why):
            rollout_now.start_shadow(shadow(version), by="t", reason="r")


def test_a_shadow_and_a_label_keep_their_version_loaded_until_they_end() -> None:
    """Both are in the history."""
    begun = promoted(1).preload(2).start_shadow(shadow(2), by="t", reason="r").label("blue", 2, by="t", reason="r")
    assert (begun.keep, begun.loaded) == ((), (1, 2))
    named = begun.end_shadow(by="t", reason="r")
    assert named.loaded == (1, 2)
    assert named.unlabel("blue", by="t", reason="r").loaded == (1,)
    with pytest.raises(InvalidChange, match="no shadow"):
        named.end_shadow(by="t", reason="r")
    with pytest.raises(InvalidChange, match="labelled 'green'"):
        named.unlabel("green", by="t", reason="r")


def test_an_unknown_model_has_an_empty_rollout(store: Store) -> None:
    """Nothing was ever promoted: nothing serves."""
    assert read_rollout(store, "other") == Rollout()


def test_a_damaged_rollout_is_named(store: Store) -> None:
    """A file that cannot be parsed is an error of that model."""
    (store.folder(MODEL) / rollout.FILE).write_text("{")
    with pytest.raises(CorruptData, match="rollout of half_plus"):
        read_rollout(store, MODEL)


def test_the_journal_has_every_change(store: Store) -> None:
    """Also those that the rollout itself holds no more, and one whose writing was cut short."""
    for version in range(1, MAX_HISTORY + 6):
        change_rollout(store, MODEL, lambda now, version=version: now.promote(version, by="t", reason="r"))
    path = store.folder(MODEL) / HISTORY_FILE
    *lines, _ = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines))
    every = list(range(1, MAX_HISTORY + 6))
    assert [change.version for change in read_history(store, MODEL)] == every
    change_rollout(store, MODEL, lambda now: now.promote(7, by="t", reason="r"))
    assert [change.version for change in read_history(store, MODEL)] == [*every, 7]
    assert len(path.read_bytes().splitlines()) == len(every) + 1


def test_a_rollout_without_a_journal_has_its_own_history(store: Store) -> None:
    """It was made by an earlier release."""
    change_rollout(store, MODEL, lambda now: now.promote(1, by="t", reason="r"))
    (store.folder(MODEL) / HISTORY_FILE).unlink()
    assert [change.version for change in read_history(store, MODEL)] == [1]
    change_rollout(store, MODEL, lambda now: now.promote(2, by="t", reason="r"))
    assert [change.version for change in read_history(store, MODEL)] == [1, 2]


def test_history_is_bounded() -> None:
    """The newest changes stay."""
    found = Rollout()
    for version in range(1, MAX_HISTORY + 10):
        found = found.promote(version, by="t", reason="r")
    assert len(found.history) == MAX_HISTORY
    assert found.history[-1].version == MAX_HISTORY + 9
