"""A store that was a folder moves into a bucket."""

import shutil
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from modelyard.models.errors import StorageFailed
from modelyard.models.registry.bucket.bucket import Bucket
from modelyard.models.registry.bucket.location import parse_location
from modelyard.models.registry.rollout import change_rollout, read_history, read_rollout
from modelyard.models.registry.sharing.follower import Follower
from modelyard.models.registry.sharing.moving import move_store
from modelyard.models.registry.sharing.shared_store import SharedStore
from modelyard.models.registry.store import Store
from tests.support.shared_stores import MODEL, publish_random

BY = {"by": "a test", "reason": "why not"}


@pytest.fixture
def local(tmp_path: Path) -> Store:
    """Versions 1 and 3; 3 is stable."""
    store = Store(tmp_path / "local")
    store.prepare()
    for _ in range(3):
        publish_random(store, "job1")
    shutil.rmtree(store.path(MODEL, 2))
    change_rollout(store, MODEL, lambda now: now.promote(3, **BY))
    return store


def share(folder: Path, memory: MemoryStore, url: str = "s3://memory/store") -> SharedStore:
    return SharedStore(folder, Bucket(parse_location(url), memory))


def test_versions_keep_their_numbers_and_rollouts_come_with_them(local: Store, tmp_path: Path) -> None:
    """Every machine that follows has what the folder had; a second time changes nothing; the next number is above."""
    memory = MemoryStore()
    moved, other = share(local.root, memory), share(tmp_path / "other", memory)
    assert move_store(moved) == 2
    assert move_store(moved) == 0
    Follower(other).run_pass()
    assert other.versions(MODEL) == (1, 3)
    assert read_rollout(other, MODEL) == read_rollout(local, MODEL)
    assert read_history(other, MODEL) == read_history(local, MODEL)
    moved.prepare()
    assert publish_random(moved).version == 4


def test_a_folder_with_versions_of_its_own_follows_no_bucket(local: Store) -> None:
    """Its version 1 and the bucket's would be two; nothing of it is touched."""
    shared = share(local.root, MemoryStore())
    for action in (shared.prepare, Follower(shared).run_pass):
        with pytest.raises(StorageFailed, match="has versions that are not from s3://memory/store"):
            action()
    assert local.versions(MODEL) == (1, 3)


def test_a_folder_follows_one_bucket(tmp_path: Path) -> None:
    """Another one needs another folder."""
    share(tmp_path, MemoryStore()).prepare()
    with pytest.raises(StorageFailed, match="follows s3://memory/store: use another folder for s3://memory/other"):
        share(tmp_path, MemoryStore(), "s3://memory/other").prepare()


def test_a_bucket_with_other_versions_is_left_alone(local: Store, tmp_path: Path) -> None:
    """They are somebody's."""
    memory = MemoryStore()
    publish_random(share(tmp_path / "other", memory))
    with pytest.raises(StorageFailed, match="another version 1 of half_plus"):
        move_store(share(local.root, memory))
