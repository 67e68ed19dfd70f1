"""A disk that is really full: a file system of three megabytes with not a byte left."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from modelyard.models.errors import StorageFailed
from modelyard.models.registry.roles.canary import Canary
from modelyard.models.registry.rollout import Rollout, change_rollout, read_history, read_rollout
from modelyard.models.registry.store import RESERVE, Store
from modelyard.services.ledger import JobRequest, Ledger
from tests.support.versions import seal_as

MODEL = "half_plus"
HUMAN = {"by": "test", "reason": "test"}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """An empty file system; only who may mount one can make it."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "modelyard-test", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def publish(store: Store) -> int:
    with store.staging(MODEL) as staged:
        (staged / "saved_model.pb").write_bytes(os.urandom(64))
        return store.publish(staged, seal_as(MODEL)).version


def fill(disk: Path) -> Path:
    """Leaves not a byte; returns the file that takes it all."""
    with suppress(OSError), (disk / "full").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return disk / "full"


@pytest.fixture
def store(disk: Path) -> Store:
    """Two versions, the second one stable, and nothing left on the disk."""
    store = Store(disk / "store")
    store.prepare()
    for _ in range(2):
        promote(store, publish(store))
    fill(disk)
    return store


def promote(store: Store, version: int) -> None:
    change_rollout(store, MODEL, lambda now: now.promote(version, **HUMAN))


def test_a_rollout_can_be_changed_on_a_full_disk_as_often_as_needed(store: Store) -> None:
    """Rolled back, promoted again, a canary begun and ended, twenty times; the history has every change."""
    before = len(read_history(store, MODEL))
    for _ in range(20):
        assert change_rollout(store, MODEL, lambda now: now.rollback(**HUMAN)).stable == 1
        canary = Canary(version=2, percent=10, since=store.manifest(MODEL, 2).created_at)
        change_rollout(store, MODEL, partial(Rollout.start_canary, canary=canary, **HUMAN))
        change_rollout(store, MODEL, lambda now: now.end_canary(**HUMAN))
        promote(store, 2)
    assert read_rollout(store, MODEL).stable == 2
    assert len(read_history(store, MODEL)) == before + 80
    assert not list((store.root / MODEL).glob(".rollout*"))


def test_without_its_reserve_a_change_is_a_storage_error_and_changes_nothing(store: Store) -> None:
    """Somebody deleted it, and something else took its place."""
    (store.root / RESERVE).unlink()
    fill(store.root)
    with pytest.raises(StorageFailed, match=r"^storage: .*: No space left on device$"):
        change_rollout(store, MODEL, lambda now: now.rollback(**HUMAN))
    assert read_rollout(store, MODEL).stable == 2


def test_a_publication_on_a_full_disk_leaves_the_reserve(store: Store) -> None:
    """It may take all the space that is free, and no more: a rollback is still possible."""
    with pytest.raises((StorageFailed, OSError)):
        publish(store)
    assert change_rollout(store, MODEL, lambda now: now.rollback(**HUMAN)).stable == 1
    assert (store.root / RESERVE).stat().st_blocks


def test_the_reserve_is_filled_again_when_there_is_room(store: Store) -> None:
    """On a full disk it shrinks by what was written."""
    change_rollout(store, MODEL, lambda now: now.rollback(**HUMAN))
    (store.root.parent / "full").unlink()
    promote(store, 2)
    assert (store.root / RESERVE).stat().st_size == 1024 * 1024


def submit_many(ledger: Ledger) -> None:
    """The write-ahead log has room for some."""
    for _ in range(1000):
        ledger.jobs.add(JobRequest(model=MODEL), by="test")


def test_a_job_that_cannot_be_recorded_is_refused_and_the_next_one_is_not(disk: Path) -> None:
    """The ledger's disk is full: nothing was accepted, and nothing is broken when there is room again."""
    ledger = Ledger(f"sqlite:///{disk}/ledger.db")
    ledger.prepare()
    full = fill(disk)
    with pytest.raises(StorageFailed, match=r"^ledger: .*(full|disk I/O error)"):
        submit_many(ledger)
    accepted = ledger.jobs.find(limit=1000)
    full.unlink()
    job = ledger.jobs.add(JobRequest(model=MODEL), by="test")
    assert ledger.jobs.find(limit=1000) == (job, *accepted)
    ledger.close()
