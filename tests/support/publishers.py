"""Publishers that try each job until it is published, as attempts of a job do, and what must be true afterwards."""

import hashlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from modelyard.models.errors import StorageFailed
from modelyard.models.registry.bucket.bucket import Bucket
from modelyard.models.registry.bucket.location import parse_location
from modelyard.models.registry.sharing.follower import Follower
from modelyard.models.registry.sharing.shared_store import SharedStore
from tests.support.shared_stores import MODEL, publish_random

PUBLICATIONS = 10
"""Of each of two publishers."""
MAX_ATTEMPTS = 20


def publish_all(folder: str, url: str, name: str, count: int = PUBLICATIONS) -> None:
    """Publishes a version for each of some jobs, with new attempts as long as one fails."""
    store = SharedStore(Path(folder), Bucket(parse_location(url)))
    for number in range(count):
        publish_job(store, f"{name}-{number}")


def publish_job(store: SharedStore, job: str) -> None:
    for attempt in range(1, MAX_ATTEMPTS):
        try:
            if attempt > 1:
                store.supersede(MODEL, job, attempt)
            if store.find_version_of(MODEL, job) or publish_random(store, job, attempt):
                return
        except StorageFailed:
            continue
    raise AssertionError(f"{job} was not published in {MAX_ATTEMPTS} attempts")


def publish_in_processes(folder: Path, url: str, environment: Mapping[str, str]) -> None:
    """Two at once, each in a process and a folder of its own."""
    command = [sys.executable, "-m", "tests.support.publishers"]
    running = [
        subprocess.Popen([*command, str(folder / name), url, name], env={**os.environ, **environment})
        for name in ("one", "two")
    ]
    assert [each.wait() for each in running] == [0, 0]


def check_published(url: str, folder: Path, jobs: Sequence[str]) -> None:
    """Each job has one version, and every version is whole, here and in the bucket."""
    store = SharedStore(folder, Bucket(parse_location(url)))
    done = Follower(store).run_pass()
    assert not done.faults
    found = [store.manifest(MODEL, number).job for number in store.versions(MODEL)]
    assert Counter(found) == Counter(jobs)
    digests = [
        hashlib.sha256((store.path(MODEL, number) / "saved_model.pb").read_bytes()).digest()
        for number in store.versions(MODEL)
    ]
    assert len(set(digests)) == len(jobs)
    for number in store.versions(MODEL):
        store.verify(MODEL, number)


if __name__ == "__main__":
    publish_all(*sys.argv[1:])
