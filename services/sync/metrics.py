"""Metrics of the process that follows a bucket: how far behind its folder is, what it brought, and what failed."""

import time
from contextlib import suppress

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector, Summary

from modelyard.models.errors import CorruptData, ModelyardError
from modelyard.models.registry.bucket.faults import BucketFailed
from modelyard.models.registry.sharing.follower import Key, Pass
from modelyard.models.registry.store import Store
from modelyard.services.metrics.disks import Disks

BUCKET, DAMAGED, DISK = "bucket", "damaged", "disk"


class SyncMetrics:
    """How following a bucket goes."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Both times are this moment until the first pass has ended."""
        self.looked = Gauge(
            "modelyard_sync_looked_timestamp_seconds",
            "When the bucket was last read from end to end, in seconds since 1970.",
            registry=registry,
        )
        self.followed = Gauge(
            "modelyard_sync_followed_timestamp_seconds",
            "When the folder last had all that the bucket says, in seconds since 1970: from then on it lags.",
            registry=registry,
        )
        self.missing = Gauge(
            "modelyard_sync_missing_versions",
            "1 for each version that could not be brought here; version 0 is the model's rollout.",
            ("model", "version"),
            registry=registry,
        )
        self.held = Gauge(
            "modelyard_sync_held_rollouts",
            "Models whose new rollout waits for its stable version; the one before is served.",
            registry=registry,
        )
        self.versions = Counter(
            "modelyard_sync_versions",
            "Versions that came into the folder, or were removed from it.",
            ("outcome",),
            registry=registry,
        )
        self.bytes = Counter("modelyard_sync_bytes", "Bytes of the versions that came here.", registry=registry)
        self.failures = Counter(
            "modelyard_sync_failures",
            "Tries that failed: the bucket was away, a version in it is damaged, or the disk cannot be written.",
            ("reason",),
            registry=registry,
        )
        self.seconds = Summary(
            "modelyard_sync_pass_seconds",
            "Time that a look at the bucket took, with what it brought.",
            registry=registry,
        )
        self.looked.set_to_current_time()
        self.followed.set_to_current_time()
        for outcome in ("laid", "removed"):  # what appears with its first count has not grown, for Prometheus
            self.versions.labels(outcome)
        for reason in (BUCKET, DAMAGED, DISK):
            self.failures.labels(reason)

    def note(self, done: Pass, store: Store, took_s: float) -> None:
        """Counts a pass that has ended."""
        now = time.time()
        self.seconds.observe(took_s)
        self.looked.set(now)
        if done.is_complete:
            self.followed.set(now)
        self.versions.labels("laid").inc(len(done.laid))
        self.versions.labels("removed").inc(len(done.removed))
        self.bytes.inc(sum(measure_version(store, key) for key in done.laid))
        self.held.set(len(done.held_back))
        self.missing.clear()
        for model, version in done.faults:
            self.missing.labels(model, str(version)).set(1)
        for error in done.failures:
            self.note_failure(error)

    def note_failure(self, error: ModelyardError) -> None:
        """Counts what broke a pass off, or one version of it."""
        self.failures.labels(find_reason(error)).inc()


def find_reason(error: ModelyardError) -> str:
    """Which of the three has to be looked at."""
    if isinstance(error, BucketFailed):
        return BUCKET
    return DAMAGED if isinstance(error, CorruptData) else DISK


def measure_version(store: Store, key: Key) -> int:
    """Bytes of its files; 0 if it has gone again."""
    with suppress(OSError):
        return sum(file.stat().st_size for file in store.path(*key).rglob("*") if file.is_file())
    return 0


def make_registry(store: Store) -> tuple[CollectorRegistry, SyncMetrics]:
    """With the process and the disk of the folder."""
    registry = CollectorRegistry()
    ProcessCollector(namespace="modelyard_sync", registry=registry)
    registry.register(Disks({"store": store.root}))
    return registry, SyncMetrics(registry)
