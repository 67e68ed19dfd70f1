"""Moves a store that was a folder into a bucket: versions keep their numbers, rollouts and their histories come after.

It can be repeated: what is there already stays. The folder follows the bucket from then on.
"""

import hashlib
from datetime import UTC, datetime

from modelyard.models.errors import StorageFailed
from modelyard.models.registry import manifest as manifests
from modelyard.models.registry.bucket.bucket import Bucket
from modelyard.models.registry.bucket.versions import (
    Held,
    VersionRecord,
    change_record,
    read_version_record,
    record_key,
)
from modelyard.models.registry.sharing.documents import FOLLOWED, ROLLOUT
from modelyard.models.registry.sharing.publication import check_files, upload_files
from modelyard.models.registry.sharing.shared_store import SharedStore, check_conditions


def move_store(store: SharedStore) -> int:
    """Uploads every version and document of the folder; of how many versions.

    Raises:
        CorruptData: a version is damaged here.
        StorageFailed: the bucket has other versions of a model, or cannot be written.
    """
    check_conditions(store.bucket)
    moved = sum(
        _move_version(store, model, number) for model in store.models() for number in _list_numbers(store, model)
    )
    for path in sorted(store.root.rglob("*")):
        name = path.relative_to(store.root).as_posix()
        if path.is_file() and (FOLLOWED.fullmatch(name) or ROLLOUT.fullmatch(name)):
            store.share(path)
    store.mark()
    return moved


def _list_numbers(store: SharedStore, model: str) -> range:
    """All up to the newest: those that were removed stay taken."""
    return range(1, max(store.versions(model), default=0) + 1)


def _move_version(store: SharedStore, model: str, number: int) -> bool:
    """Whether it is a version now that was none."""
    if number not in store.versions(model):
        record = VersionRecord(state="removed", upload="moved", since=datetime.now(UTC))
        store.bucket.create(record_key(model, number), record.model_dump_json().encode())
        return False
    store.verify(model, number)
    manifest = store.manifest(model, number)
    digest = hashlib.sha256((store.path(model, number) / manifests.FILE).read_bytes()).hexdigest()
    held = _take(store.bucket, model, number, digest, manifest.job)
    if held.record.state == "published":
        return False
    digests = {**manifest.files, manifests.FILE: digest}
    upload_files(store.bucket, model, number, store.path(model, number), digests)
    check_files(store.bucket, model, number, digests)
    published = held.record.model_copy(update={"state": "published", "manifest": digest})
    return change_record(store.bucket, model, number, held, published)


def _take(bucket: Bucket, model: str, number: int, digest: str, job: str | None) -> Held:
    """The number's record; the manifest's hash says whose it is."""
    record = VersionRecord(state="uploading", upload=digest[:16], job=job, since=datetime.now(UTC))
    bucket.create(record_key(model, number), record.model_dump_json().encode())
    held = read_version_record(bucket, model, number)
    if held is None or held.record.upload != digest[:16] or held.record.state in ("abandoned", "removed"):
        raise StorageFailed(
            f"object store {bucket.location}: it has another version {number} of {model}; use another prefix"
        )
    return held
