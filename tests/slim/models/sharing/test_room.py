"""Memory of a pool, where machines share a bucket: what others have promoted counts before it has come here."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from modelyard.models.registry.manifest import VersionSize
from modelyard.models.registry.pools.capacity import NoRoom, list_loaded
from modelyard.models.registry.pools.size import MB, find_memory
from modelyard.models.registry.rollout import read_rollout
from modelyard.models.registry.sharing.shared_store import SharedStore
from modelyard.models.tfserving.pools import ServingPools
from modelyard.pipeline.job import Promotion
from modelyard.pipeline.stages import promote as stage
from modelyard.pipeline.stages.move import move
from tests.support.fakes import publish
from tests.support.shared_stores import MakeStore, make_machines

ONE, TWO = "digits", "reviews"
SIZE = VersionSize(parameters=100 * MB, graph=0, assets=0)


@pytest.fixture
def machine(tmp_path: Path) -> MakeStore:
    return make_machines(tmp_path)


def make_pools(megabytes: int) -> ServingPools:
    """Pools without servers: nothing is compared."""
    return ServingPools.of((), {"gpu": ()}, {"default": megabytes * MB, "gpu": megabytes * MB})


def promote(store: SharedStore, model: str, megabytes: int) -> Promotion:
    manifest = store.manifest(model, 1)
    return stage.promote(store, manifest, make_pools(megabytes), by="a test", report=lambda _: None)


def test_what_another_machine_has_promoted_takes_room(machine: MakeStore) -> None:
    """Though neither its rollout nor its version is here yet; with room for both it fits."""
    one, two = machine("one"), machine("two")
    publish(one, ONE, stable=False, size=SIZE)
    publish(two, TWO, stable=False, size=SIZE)
    needed = find_memory(one, ONE, 1)
    assert promote(one, ONE, 2 * needed - 1).promoted
    assert list_loaded(two, "default") == ()
    refused = promote(two, TWO, 2 * needed - 1)
    assert (refused.promoted, f"taken by {ONE} 1 ({needed} MB): 1 MB short" in refused.reason) == (False, True), refused
    assert promote(two, TWO, 2 * needed).promoted


def test_a_model_that_moves_meets_what_is_there(machine: MakeStore) -> None:
    """By its other machine's rollout."""
    one, two = machine("one"), machine("two")
    for store, model in ((one, ONE), (two, TWO)):
        publish(store, model, stable=False, size=SIZE)
        assert promote(store, model, 10_000).promoted
    needed = find_memory(one, ONE, 1)
    pools = make_pools(2 * needed - 1)
    move(one, ONE, pools, "gpu", by="a test", report=lambda _: None)
    with pytest.raises(NoRoom, match=f"{ONE} 1"):
        move(two, TWO, pools, "gpu", by="a test", report=lambda _: None)
    assert read_rollout(two, TWO).placement.pool == "default"


def test_of_two_at_once_one_is_refused(machine: MakeStore) -> None:
    """Whichever is second: both look, and only one of them takes."""
    stores = {ONE: machine("one"), TWO: machine("two")}
    for model, store in stores.items():
        publish(store, model, stable=False, size=SIZE)
    megabytes, together = 2 * find_memory(stores[ONE], ONE, 1) - 1, Barrier(2)

    def run(model: str) -> bool:
        together.wait(30)
        return promote(stores[model], model, megabytes).promoted

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(run, stores)) == [False, True]
