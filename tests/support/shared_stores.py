"""Model stores that share a bucket: in memory, or on a server."""

import os
from collections.abc import Callable
from pathlib import Path

from obstore.store import MemoryStore

from modelyard.models.registry.bucket.bucket import Bucket
from modelyard.models.registry.bucket.location import parse_location
from modelyard.models.registry.manifest import Manifest
from modelyard.models.registry.sharing.shared_store import SharedStore
from modelyard.models.registry.store import Store
from tests.support.versions import seal_as

MODEL = "half_plus"
MakeStore = Callable[[str], SharedStore]
"""A machine's folder by name; all that one function makes share a bucket."""


class Clock:
    """What a follower takes for the time."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def make_machines(folder: Path) -> MakeStore:
    """Machines that share a bucket in memory."""
    memory = MemoryStore()

    def make(name: str) -> SharedStore:
        store = SharedStore(folder / name, Bucket(parse_location("s3://memory/store"), memory))
        store.prepare_folder()
        return store

    return make


def publish_random(
    store: Store, job: str | None = None, attempt: int = 1, size: int = 64, model: str = MODEL
) -> Manifest:
    """A version whose files no other has."""
    with store.staging(model) as staged:
        (staged / "variables").mkdir()
        (staged / "saved_model.pb").write_bytes(os.urandom(size))
        (staged / "variables" / "variables.index").write_bytes(os.urandom(size))
        return store.publish(staged, seal_as(model, job=job), job, attempt)
