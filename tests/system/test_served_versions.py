"""Gateway and model server as processes while versions come and go: answers are right, and of the version they name."""

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from modelyard.models.registry.rollout import change_rollout
from modelyard.models.registry.store import Store
from tests.support.processes import WAIT_S
from tests.support.serving import MODEL, Served, config_of, modelyard_serve, put, remove
from tests.support.traffic import more, saw_every_client_again, traffic
from tests.support.versions import publish_copy
from tests.support.waiting import wait_until

NEWEST = "half_plus_newest"
"""The same model by another name."""
FEW, MANY = 3, 6
"""Versions that come one after the other."""
SWAPPED = {FEW: f"{MODEL}_few", MANY: f"{MODEL}_many"}


@pytest.fixture(scope="module")
def configured(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Served]]:
    """A folder of models, each of a test's own, by TensorFlow Serving's configuration file."""
    root = tmp_path_factory.mktemp("configured")
    models, file = root / "models", root / "my.config"
    names = (NEWEST, *SWAPPED.values())
    for name in names:
        put(made / MODEL / "1", models / name / "1")
    file.write_text(config_of(models, *names, **{NEWEST: "latest { num_versions: 1 }"}))
    with modelyard_serve(root / "home", "--model-config", str(file)) as served:
        yield models, served


@pytest.fixture(scope="module")
def followed(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, Served]]:
    """A store of ours with two models, each of a test's own."""
    root = tmp_path_factory.mktemp("followed")
    store = Store(root / "store")
    for version in (1, 2):
        publish_copy(store, NEWEST, made / MODEL / str(version))
    for saved in (made / MODEL / "1", made / MODEL / "2", made / "slow_to_load" / "8"):
        publish_copy(store, MODEL, saved)
    for model, version in ((NEWEST, 1), (MODEL, 1), (MODEL, 2)):
        change_rollout(store, model, lambda now, version=version: now.promote(version, by="test", reason="it is there"))
    with modelyard_serve(root / "home", "--models-dir", str(store.root)) as served:
        yield store, served


def test_new_versions_are_picked_up_without_a_restart(made: Path, configured: tuple[Path, Served]) -> None:
    """A folder that appears by rename answers soon, by TensorFlow Serving's own configuration file too."""
    models, served = configured
    assert served.predict(NEWEST, [2.0]).json() == {"predictions": [2.0]}
    put(made / MODEL / "2", models / NEWEST / "2")
    served.await_state(NEWEST, 2, "AVAILABLE")
    new = {"predictions": [3.0]}
    wait_until(lambda: served.predict(NEWEST, [2.0]).json() == new, WAIT_S, "the new version answers")
    served.await_state(NEWEST, 1, None)


def test_a_store_of_ours_is_followed_promotion_by_promotion(followed: tuple[Store, Served]) -> None:
    """The request after a promotion, or a rollback, gets the version that it set, without a restart."""
    store, served = followed
    change, predicted = partial(change_rollout, store, NEWEST), partial(predict_zero, served, NEWEST)
    assert predicted() == ("1", [1.0])
    change(lambda now: now.preload(2))
    served.await_state(NEWEST, 2, "AVAILABLE")
    assert predicted() == ("1", [1.0])
    change(lambda now: now.promote(2, by="test", reason="better"))
    assert predicted() == ("2", [2.0])
    change(lambda now: now.promote(1, by="test", reason="it was not"))
    assert predicted() == ("1", [1.0])


def test_a_rollback_takes_effect_at_once_under_load_while_another_version_loads(
    followed: tuple[Store, Served],
) -> None:
    """One call: the next answer is the old version's, none fails; once more has nowhere to go; forth again works."""
    store, served = followed
    change, predicted = partial(change_rollout, store, MODEL), partial(predict_zero, served, MODEL)
    with traffic(served.url, MODEL) as seen:
        wait_until(more(seen), WAIT_S, "answers of version 2")
        change(lambda now: now.preload(3))
        loading = ("START", "LOADING")
        wait_until(lambda: served.states(MODEL).get(3) in loading, WAIT_S, "version 3 is being loaded")
        done = served.post(f"/api/models/{MODEL}:rollback", json={"reason": "a drill"})
        back = time.monotonic()
        assert (done.status_code, done.json()["stable"], predicted()) == (200, 1, ("1", [1.0]))
        assert served.states(MODEL)[3] in loading, "the other version was loaded before the rollback was done"
        wait_until(saw_every_client_again(seen), WAIT_S, "whatever was on its way is answered")
        wait_until(more(seen, 40), WAIT_S, "answers of version 1")
        assert served.post(f"/api/models/{MODEL}:rollback").status_code == httpx.codes.CONFLICT
        change(lambda now: now.preload(2))
        served.await_state(MODEL, 2, "AVAILABLE")
        forth = time.monotonic()
        change(lambda now: now.promote(2, by="test", reason="it was good"))
        assert predicted() == ("2", [2.0])
        wait_until(saw_every_client_again(seen), WAIT_S, "whatever was on its way is answered")
        wait_until(more(seen, 40), WAIT_S, "answers of version 2 again")
    assert {version for sent, received, version in seen.responses if back < sent and received < forth} == {1}
    assert (seen.wrong, seen.failed, seen.refused, seen.late) == ([], [], [], [])
    assert set(seen.versions) == {1, 2}


def predict_zero(served: Served, model: str) -> tuple[str, list[float]]:
    """The version that predicts, and its output for 0."""
    answer = served.predict(model, [0.0])
    return answer.headers["X-Model-Version"], answer.json()["predictions"]


@pytest.mark.parametrize("newest", [FEW, pytest.param(MANY, marks=pytest.mark.long)])
def test_versions_come_and_go_under_load_without_a_wrong_or_lost_response(
    made: Path, configured: tuple[Path, Served], newest: int
) -> None:
    """Swaps and a rollback; every answer equals x/2 + the version in its header, pinned or latest."""
    models, served = configured
    model = SWAPPED[newest]
    folder = models / model
    with traffic(served.url, model, pinned=1) as seen:
        wait_until(more(seen), WAIT_S, "answers of version 1")
        for version in range(2, newest + 1):
            put(made / MODEL / str(version), folder / str(version))
            served.await_state(model, version, "AVAILABLE")
            seen.pinned = version
            wait_until(saw_every_client_again(seen), WAIT_S, "nobody asks for the old one any more")
            wait_until(more(seen, 40), WAIT_S, f"answers beside version {version}")
            if version < newest:
                remove(folder / str(version - 1))
                served.await_state(model, version - 1, None)
        seen.pinned = newest - 1
        wait_until(saw_every_client_again(seen), WAIT_S, "nobody pins the newest")
        remove(folder / str(newest))
        served.await_state(model, newest, None)
        wait_until(more(seen, 40), WAIT_S, "answers after the rollback")
        assert served.predict(model, [0.0]).headers["X-Model-Version"] == str(newest - 1)
    assert (seen.wrong, seen.failed, seen.refused, seen.late) == ([], [], [], [])
    assert set(seen.versions) == set(range(1, newest + 1))
