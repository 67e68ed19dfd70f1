"""What the process that follows a bucket says of itself: its lag, what it brought, and why something failed."""

import time
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from modelyard.models.errors import CorruptData, ModelyardError, StorageFailed
from modelyard.models.registry.bucket.faults import BucketFailed
from modelyard.models.registry.bucket.versions import file_key
from modelyard.models.registry.rollout import change_rollout
from modelyard.models.registry.sharing.documents import change_document
from modelyard.models.registry.sharing.follower import RETRY_S, Follower
from modelyard.models.registry.sharing.shared_store import SharedStore
from modelyard.services.sync.metrics import SyncMetrics, find_reason, make_registry
from tests.support.shared_stores import MODEL, Clock, make_machines, publish_random

SIZE = 64
REASONS = ("bucket", "damaged", "disk")


class Followed:
    """A machine that publishes, another one that follows, and the follower's metrics."""

    def __init__(self, folder: Path) -> None:
        machine = make_machines(folder)
        self.trainer, self.server, self.clock = machine("trainer"), machine("server"), Clock()
        self.follower = Follower(self.server, now=self.clock)
        self.registry, self.metrics = make_registry(self.server)

    def look(self) -> None:
        self.metrics.note(self.follower.run_pass(), self.server, 0.5)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"modelyard_sync_{name}", labels)


@pytest.fixture
def followed(tmp_path: Path) -> Followed:
    return Followed(tmp_path)


def promote(store: SharedStore, version: int) -> None:
    change_rollout(store, MODEL, lambda now: now.promote(version, by="a test", reason="why not"))


def damage(store: SharedStore, version: int, tmp_path: Path) -> None:
    (tmp_path / "damaged").write_bytes(b"damaged")
    store.bucket.upload(file_key(MODEL, version, "saved_model.pb"), tmp_path / "damaged")


def test_what_came_is_counted_with_its_bytes(followed: Followed) -> None:
    """Each version once, its manifest included; and the folder is as the bucket says."""
    before = time.time()
    followed.look()
    promote(followed.trainer, publish_random(followed.trainer, size=SIZE).version)
    followed.look()
    followed.look()
    folder = followed.server.path(MODEL, 1)
    assert followed.value("versions_total", outcome="laid") == 1
    assert followed.value("bytes_total") == sum(each.stat().st_size for each in folder.rglob("*") if each.is_file())
    assert followed.value("pass_seconds_count") == 3
    for name in ("looked", "followed"):
        assert before <= (followed.value(f"{name}_timestamp_seconds") or 0) <= time.time()


def test_a_damaged_version_makes_the_folder_lag_until_it_is_whole(followed: Followed, tmp_path: Path) -> None:
    """The bucket is read all the same; each try counts, and the version is named."""
    promote(followed.trainer, publish_random(followed.trainer, size=SIZE).version)
    followed.look()
    then = followed.value("followed_timestamp_seconds")
    publish_random(followed.trainer, size=SIZE)
    damage(followed.trainer, 2, tmp_path)
    promote(followed.trainer, 2)
    for _ in range(3):
        followed.look()
        followed.clock.now += RETRY_S + 1
    assert followed.value("followed_timestamp_seconds") == then
    assert (followed.value("looked_timestamp_seconds") or 0) > (then or 0)
    assert followed.value("failures_total", reason="damaged") == 3
    assert followed.value("missing_versions", model=MODEL, version="2") == 1
    assert followed.value("held_rollouts") == 1
    promote(followed.trainer, publish_random(followed.trainer, size=SIZE).version)
    followed.look()
    assert followed.value("held_rollouts") == 0
    assert followed.value("versions_total", outcome="laid") == 2


def test_a_damaged_rollout_is_version_0(followed: Followed) -> None:
    """What cannot be read there, the folder has not."""
    promote(followed.trainer, publish_random(followed.trainer).version)
    key = f".index/{MODEL}/rollout.json"
    change_document(followed.trainer.bucket, key, lambda _: b"{", lambda *_: True)
    followed.look()
    assert followed.value("missing_versions", model=MODEL, version="0") == 1
    assert followed.value("failures_total", reason="damaged") == 1


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (BucketFailed("object store s3://models: it cannot be reached"), "bucket"),
        (StorageFailed("storage: saved_model.pb: No space left on device"), "disk"),
        (CorruptData("model version 2: variables is missing in the bucket"), "damaged"),
    ],
)
def test_a_failure_has_one_of_three_reasons(error: ModelyardError, reason: str) -> None:
    """Which all are there from the beginning: what has not failed has failed 0 times."""
    registry = CollectorRegistry()
    metrics = SyncMetrics(registry)
    metrics.note_failure(error)
    found = {each: registry.get_sample_value("modelyard_sync_failures_total", {"reason": each}) for each in REASONS}
    assert found == {**dict.fromkeys(REASONS, 0.0), reason: 1.0}
    assert find_reason(error) == reason


def test_the_disk_of_the_folder_is_among_them(followed: Followed) -> None:
    assert (followed.registry.get_sample_value("modelyard_disk_free_bytes", {"folder": "store"}) or 0) > 0
