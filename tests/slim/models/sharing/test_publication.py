"""Versions in a bucket: whole or not at all, each under a number of its own, each job's once."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from modelyard.models.errors import CorruptData, StorageFailed, Superseded, UnknownName
from modelyard.models.registry.bucket.bucket import Bucket
from modelyard.models.registry.bucket.versions import (
    VersionRecord,
    abandon,
    change_job,
    file_key,
    read_version_record,
    record_key,
    supersede_attempts,
    take_number,
)
from modelyard.models.registry.manifest import Manifest
from modelyard.models.registry.sharing.cleaning import clean_model, remove_record
from modelyard.models.registry.sharing.shared_store import SharedStore, check_conditions
from tests.support.shared_stores import MODEL, MakeStore, make_machines, publish_random
from tests.support.versions import seal_as


@pytest.fixture
def machine(tmp_path: Path) -> MakeStore:
    return make_machines(tmp_path)


@pytest.fixture
def store(machine: MakeStore) -> SharedStore:
    return machine("one")


def list_keys(bucket: Bucket, prefix: str) -> list[str]:
    return sorted(each.key for each in bucket.list(prefix))


def read_state(store: SharedStore, version: int) -> str:
    held = read_version_record(store.bucket, MODEL, version)
    assert held
    return held.record.state


def test_versions_of_several_machines_are_numbered_in_one_row(machine: MakeStore) -> None:
    """Each number is one machine's, and the version is in that machine's folder, too."""
    one, two = machine("one"), machine("two")
    assert [publish_random(each).version for each in (one, two, two, one)] == [1, 2, 3, 4]
    assert one.versions(MODEL) == (1, 4)
    assert two.versions(MODEL) == (2, 3)
    for store, version in ((one, 1), (two, 2), (two, 3), (one, 4)):
        store.verify(MODEL, version)


def test_what_is_uploaded_is_no_version_until_its_record_says_so(store: SharedStore) -> None:
    """Whoever dies in the middle leaves objects that nobody takes for a version, and a number that stays taken."""
    take_number(store.bucket, MODEL, "dead", None, 1, 0)
    assert read_state(store, 1) == "uploading"
    assert publish_random(store).version == 2


def test_an_upload_that_was_given_up_never_becomes_a_version(store: SharedStore) -> None:
    """Who gives up and who publishes change one record: the first one counts."""

    def give_up_and_seal(version: int, files: dict[str, str]) -> Manifest:
        assert abandon(store.bucket, MODEL, version)
        return seal_as(MODEL)(version, files)

    with store.staging(MODEL) as staged:
        (staged / "saved_model.pb").write_bytes(b"1")
        with pytest.raises(Superseded, match="given up"):
            store.publish(staged, give_up_and_seal)
    assert read_state(store, 1) == "abandoned"
    assert not store.versions(MODEL)


def test_an_earlier_attempt_of_a_job_publishes_nothing(machine: MakeStore) -> None:
    """Its upload is given up, or it is told when it begins; on whichever machine."""
    one, two = machine("one"), machine("two")
    two.supersede(MODEL, "job1", 2)
    with pytest.raises(Superseded, match="taken over"):
        publish_random(one, "job1", 1)
    assert read_state(one, 1) == "abandoned"
    assert two.find_version_of(MODEL, "job1") is None
    assert publish_random(two, "job1", 2).version == 2


def test_an_upload_in_progress_ends_where_a_later_attempt_begins(store: SharedStore) -> None:
    """It holds a number, and the job's record says which."""
    number, held = take_number(store.bucket, MODEL, "slow", "job1", 1, 0)
    change_job(store.bucket, MODEL, "job1", 1, number, held.record.upload)
    supersede_attempts(store.bucket, MODEL, "job1", 2)
    assert read_state(store, number) == "abandoned"


def test_a_job_is_published_once(machine: MakeStore) -> None:
    """An attempt that did not hear of its success is found, brought here, and no other version appears."""
    one, two = machine("one"), machine("two")
    published = publish_random(one, "job1", 1)
    two.supersede(MODEL, "job1", 2)
    found = two.find_version_of(MODEL, "job1")
    assert found == published
    two.verify(MODEL, published.version)
    with pytest.raises(Superseded, match="has published version 1"):
        publish_random(two, "job1", 2)
    assert two.find_version_of(MODEL, "job1") == published
    assert read_state(two, 2) == "abandoned"


def test_an_attempt_never_hides_what_an_earlier_one_has_published(machine: MakeStore) -> None:
    """Nobody forbade that while the second one trained: the job's record goes on naming the version."""
    one, two = machine("one"), machine("two")
    publish_random(one, "job1", 1)
    with pytest.raises(Superseded, match="has published version 1"):
        publish_random(two, "job1", 2)
    two.supersede(MODEL, "job1", 3)
    found = two.find_version_of(MODEL, "job1")
    assert found
    assert found.version == 1


def test_a_job_that_published_nothing_has_no_version(store: SharedStore) -> None:
    """Nor has one whose version was removed, nor a name that no model can have."""
    assert store.find_version_of(MODEL, "job1") is None
    assert store.find_version_of("../x", "job1") is None
    publish_random(store, "job1")
    remove_record(store.bucket, MODEL, 1)
    assert store.find_version_of(MODEL, "job1") is None


def test_a_removed_version_is_gone_and_its_number_stays(machine: MakeStore) -> None:
    """Its objects are deleted; the next version has a number above it."""
    one = machine("one")
    publish_random(one, "job1")
    one.remove_version(MODEL, 1, one.folder(MODEL) / ".removed-1")
    assert not list_keys(one.bucket, f"{MODEL}/")
    assert not list_keys(one.bucket, ".jobs/")
    assert not one.versions(MODEL)
    assert publish_random(one).version == 2
    with pytest.raises(UnknownName):
        remove_record(one.bucket, MODEL, 7)


def test_what_dead_uploads_left_is_deleted_after_a_while(store: SharedStore, tmp_path: Path) -> None:
    """An upload of an hour may still go on; one that was given up is nobody's, and versions stay."""
    publish_random(store)
    (tmp_path / "file").write_bytes(b"1")
    for upload in ("dead", "slow"):
        number, _ = take_number(store.bucket, MODEL, upload, None, 1, 1)
        store.bucket.upload(file_key(MODEL, number, "saved_model.pb"), tmp_path / "file")
    abandon(store.bucket, MODEL, 2)
    assert clean_model(store.bucket, MODEL) == 1
    assert not list_keys(store.bucket, f"{MODEL}/2/")
    assert len(list_keys(store.bucket, f"{MODEL}/3/")) == 1
    assert len(list_keys(store.bucket, f"{MODEL}/1/")) == 3
    assert not list_keys(store.bucket, ".probes/")


@pytest.mark.parametrize("year", [1999, 2099])
def test_a_publishers_wrong_clock_decides_nothing(store: SharedStore, year: int) -> None:
    """What it says of the time is for people; how old its upload is, the bucket's clock says."""
    record = VersionRecord(state="uploading", upload="skewed", since=datetime(year, 1, 1, tzinfo=UTC))
    store.bucket.create(record_key(MODEL, 1), record.model_dump_json().encode())
    store.delete_abandoned(MODEL)
    assert read_state(store, 1) == "uploading"
    assert publish_random(store).version == 2


class Torn(Bucket):
    """Keeps half of each file."""

    def upload(self, key: str, path: Path) -> None:
        half = path.with_suffix(".half")
        half.write_bytes(path.read_bytes()[:10])
        super().upload(key, half)
        half.unlink()


class Away(Bucket):
    """Does not answer for a while, once."""

    calls = 0

    def upload(self, key: str, path: Path) -> None:
        self.calls += 1
        if self.calls == 1:
            raise StorageFailed("away")
        super().upload(key, path)


def test_a_jobs_version_waits_for_the_bucket(store: SharedStore, tmp_path: Path) -> None:
    """A training is worth it; whoever waits and may ask again is told at once."""
    away = SharedStore(tmp_path / "away", Away(store.bucket.location, store.bucket.library))
    assert publish_random(away, "job1").version == 2
    assert read_state(store, 1) == "abandoned"
    other = SharedStore(tmp_path / "other", Away(store.bucket.location, store.bucket.library))
    with pytest.raises(StorageFailed, match="away"):
        publish_random(other)
    impatient = SharedStore(tmp_path / "last", Away(store.bucket.location, store.bucket.library), outage_s=0)
    with pytest.raises(StorageFailed, match="away"):
        publish_random(impatient, "job2")


class Forgetful(Bucket):
    """Ignores conditions, as some servers do."""

    def create(self, key: str, data: bytes) -> dict[str, str] | None:
        return super().create(key, data) or {"e_tag": "any"}


def test_what_the_bucket_does_not_give_back_as_it_was_is_not_published(store: SharedStore, tmp_path: Path) -> None:
    """Every file is read back and compared before the version is one; the error names the file."""
    torn = SharedStore(tmp_path / "torn", Torn(store.bucket.location, store.bucket.library))
    with pytest.raises(CorruptData, match="came out of the bucket changed"):
        publish_random(torn)
    assert read_state(store, 1) == "abandoned"


def test_a_bucket_that_ignores_conditions_is_refused_at_the_start(store: SharedStore) -> None:
    """Without them two publishers could take one number."""
    store.prepare()
    with pytest.raises(StorageFailed, match="ignores conditions"):
        check_conditions(Forgetful(store.bucket.location, store.bucket.library))
