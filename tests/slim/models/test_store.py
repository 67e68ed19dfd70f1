"""The model store: versions appear whole or not at all, under numbers of their own."""

import multiprocessing
import os
import shutil
from pathlib import Path

import pytest

from modelyard.models.errors import CorruptData, StorageFailed, Superseded, UnknownName
from modelyard.models.registry import manifest as manifests
from modelyard.models.registry.disk.atomic import rename_no_replace
from modelyard.models.registry.manifest import Manifest
from modelyard.models.registry.store import Store
from tests.support.versions import seal_as

MODEL = "half_plus"


def publish_one(root: Path) -> int:
    store = Store(root)
    with store.staging(MODEL) as staged:
        (staged / "saved_model.pb").write_bytes(os.urandom(64))
        return store.publish(staged, seal_as(MODEL)).version


def publish_many(root: Path, count: int) -> list[int]:
    return [publish_one(root) for _ in range(count)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    store.prepare()
    return store


def test_versions_are_numbered_from_one_upwards(store: Store) -> None:
    """Each publication gets the next number, and its manifest knows it."""
    assert [publish_one(store.root) for _ in range(3)] == [1, 2, 3]
    assert store.versions(MODEL) == (1, 2, 3)
    assert store.manifest(MODEL, 2).version == 2


def test_publishers_in_several_processes_never_share_a_number(store: Store) -> None:
    """Eight processes, two hundred publications: distinct, gapless numbers, and every version verifies."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with context.Pool(8) as pool:
        numbers = [number for each in pool.starmap(publish_many, [(store.root, 25)] * 8) for number in each]
    assert sorted(numbers) == list(range(1, 201))
    for number in numbers:
        store.verify(MODEL, number)


def test_rename_refuses_to_replace_an_empty_folder(tmp_path: Path) -> None:
    """A plain rename would silently replace it, and two publishers could share a number."""
    (tmp_path / "staged").mkdir()
    (tmp_path / "1").mkdir()
    assert not rename_no_replace(tmp_path / "staged", tmp_path / "1")
    assert (tmp_path / "staged").is_dir()


def test_a_number_taken_by_a_foreign_folder_is_skipped(store: Store) -> None:
    """A numeric folder that is not a version of ours is left alone."""
    (store.folder(MODEL) / "7").mkdir(parents=True)
    assert publish_one(store.root) == 8
    assert store.versions(MODEL) == (8,)


@pytest.mark.parametrize("name", ["1" * 20, str(2**53), "9" * 18, "٣", "²", "1e3", "-5", "+9"])
@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_name_that_is_no_version_number_does_not_count(store: Store, name: str, kind: str) -> None:
    """The next number would be one that no model server can load, or that no request can name."""
    (store.folder(MODEL) / name).mkdir(parents=True)
    if kind == "file":
        (store.folder(MODEL) / name).rmdir()
        (store.folder(MODEL) / name).write_text("")
    assert [publish_one(store.root) for _ in range(2)] == [1, 2]
    assert store.versions(MODEL) == (1, 2)


def test_a_number_with_leading_zeros_is_taken(store: Store) -> None:
    """Model servers read 007 as 7: two folders would be one version."""
    (store.folder(MODEL) / "007").mkdir(parents=True)
    assert publish_one(store.root) == 8


def test_without_a_number_left_a_publication_says_what_to_remove(store: Store) -> None:
    """The largest number there is, is taken."""
    (store.folder(MODEL) / str(2**53 - 1)).mkdir(parents=True)
    with pytest.raises(
        StorageFailed, match=f"half_plus has no number left above {2**53 - 1}: remove what has that name"
    ):
        publish_one(store.root)


def test_a_failed_publication_leaves_nothing_behind(store: Store) -> None:
    """An exception while a version is built removes what was built."""

    def interrupted() -> None:
        with store.staging(MODEL) as staged:
            (staged / "saved_model.pb").write_bytes(b"half")
            raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        interrupted()
    assert list(store.folder(MODEL).iterdir()) == []


def test_a_folder_without_manifest_is_no_version(store: Store) -> None:
    """The manifest is written last, so a folder without one is not whole."""
    (store.folder(MODEL) / "1").mkdir(parents=True)
    assert store.versions(MODEL) == ()
    with pytest.raises(UnknownName, match="has no version 1"):
        store.manifest(MODEL, 1)


@pytest.mark.parametrize("damage", ["changed", "missing", "extra"])
def test_damage_is_named(store: Store, damage: str) -> None:
    """Verification names the file that is changed, missing or extra."""
    publish_one(store.root)
    version = store.path(MODEL, 1)
    if damage == "changed":
        (version / "saved_model.pb").write_bytes(b"other")
    elif damage == "missing":
        (version / "saved_model.pb").unlink()
    else:
        (version / "stowaway").write_bytes(b"")
    expected = "stowaway" if damage == "extra" else "saved_model.pb"
    with pytest.raises(CorruptData, match=expected):
        store.verify(MODEL, 1)


def test_a_damaged_manifest_is_an_error_not_a_crash(store: Store) -> None:
    """A manifest that cannot be parsed is reported as corrupt data of that version."""
    publish_one(store.root)
    (store.path(MODEL, 1) / manifests.FILE).write_text("{")
    with pytest.raises(CorruptData, match="half_plus version 1"):
        store.manifest(MODEL, 1)


@pytest.mark.parametrize("name", ["../etc", "a/b", "", ".", "A", "a" * 65, "a%2Fb", "1a", "a\n"])
def test_names_that_could_leave_the_store_do_not_exist(store: Store, name: str) -> None:
    """Model names match an allow-list before they become paths."""
    with pytest.raises(UnknownName):
        store.folder(name)


def test_a_store_that_cannot_be_written_is_refused_with_the_reason(tmp_path: Path) -> None:
    """A file in the store's place is one clear error."""
    (tmp_path / "store").write_text("")
    with pytest.raises(StorageFailed, match="not writable"):
        Store(tmp_path / "store").prepare()


def test_manifest_survives_the_way_through_json(store: Store) -> None:
    """What is read equals what was sealed."""
    publish_one(store.root)
    found = store.manifest(MODEL, 1)
    assert Manifest.model_validate_json(found.model_dump_json()) == found


JOB = "job-0123456789abcdef"


def publish_attempt(store: Store, attempt: int) -> int:
    with store.staging(MODEL) as staged:
        return store.publish(staged, seal_as(MODEL, job=JOB), JOB, attempt).version


def test_a_superseded_attempt_publishes_nothing(store: Store) -> None:
    """Nor does one before it; the one that superseded it, and later ones, may; other jobs are not concerned."""
    store.supersede(MODEL, JOB, 3)
    for attempt in (1, 2):
        with pytest.raises(Superseded, match=f"another attempt of {JOB} has taken over"):
            publish_attempt(store, attempt)
    assert store.versions(MODEL) == ()
    assert publish_attempt(store, 3) == 1
    found = store.find_version_of(MODEL, JOB)
    assert found
    assert found.version == 1
    assert publish_one(store.root) == 2


def test_a_lock_that_is_held_for_good_is_an_error_and_no_wait(store: Store) -> None:
    """Its holder stands still: the error names the lock; when it is gone, the lock is free."""
    hasty = Store(store.root, lock_timeout_s=0.05)
    with store.lock("publish-half_plus"):
        for forbidden in (lambda: hasty.supersede(MODEL, JOB, 2), lambda: publish_attempt(hasty, 1)):
            with pytest.raises(
                StorageFailed, match=r"storage: \.publish-half_plus\.lock is held by a process that stands still"
            ):
                forbidden()
        assert Store(store.root).versions(MODEL) == ()
        with store.lock("pointers"):
            pass
    assert publish_attempt(store, 1) == 1


def test_another_versions_damage_hides_no_version_of_a_job(store: Store) -> None:
    """A manifest that cannot be read is of no job."""
    publish_attempt(store, 1)
    damaged = publish_one(store.root)
    (store.path(MODEL, damaged) / manifests.FILE).write_text("{")
    found = store.find_version_of(MODEL, JOB)
    assert found
    assert found.version == 1
    assert store.find_version_of(MODEL, "job-of-nobody") is None


@pytest.mark.parametrize("model", ["No-Model", "../half_plus", "", "a" * 65])
def test_a_name_that_no_model_can_have_has_no_version_of_a_job(store: Store, model: str) -> None:
    """A job of such a name fails by its own reason."""
    assert store.find_version_of(model, JOB) is None


@pytest.mark.parametrize("name", ["pointers", "publish-half_plus"])
def test_a_lock_in_a_store_that_is_gone_is_a_storage_error(store: Store, name: str) -> None:
    """As any other write."""
    shutil.rmtree(store.root)
    with pytest.raises(StorageFailed, match=rf"^storage: \.{name}\.lock: No such file or directory$"), store.lock(name):
        pass
