"""What a bucket need not hold any more: files of removed versions, and of uploads that never became one."""

import secrets
from datetime import datetime

from modelyard.models.errors import StorageFailed, UnknownName
from modelyard.models.registry.bucket.bucket import Bucket
from modelyard.models.registry.bucket.versions import (
    JOBS,
    MAX_UPLOAD,
    VersionRecord,
    abandon,
    change_record,
    list_numbers,
    read_version_record,
)


def remove_record(bucket: Bucket, model: str, version: int) -> VersionRecord:
    """Ends a published version for everybody; its number stays taken.

    Raises:
        UnknownName: there is no such version.
    """
    while (held := read_version_record(bucket, model, version)) and held.record.state == "published":
        removed = held.record.model_copy(update={"state": "removed"})
        if change_record(bucket, model, version, held, removed):
            return removed
    if held and held.record.state == "removed":
        return held.record
    raise UnknownName(f"model {model!r} has no version {version} in the bucket")


def remove_objects(bucket: Bucket, model: str, version: int, record: VersionRecord) -> int:
    """Deletes the files of a version that is removed, or of an upload that was given up; of how many."""
    keys = [each.key for each in bucket.list(f"{model}/{version}/")]
    bucket.delete(keys)
    if record.job and record.state == "removed":
        bucket.delete([f"{JOBS}/{model}/{record.job}.json"])
    return len(keys)


def clean_model(bucket: Bucket, model: str) -> int:
    """Gives up uploads that are older than ``MAX_UPLOAD``, and deletes what is left of such; how many objects.

    Ages are differences between two times of the bucket's own clock.
    """
    now, deleted = read_clock(bucket), 0
    for number in list_numbers(bucket, model):
        held = read_version_record(bucket, model, number)
        if held is None or held.record.state == "published":
            continue
        if held.record.state == "uploading" and (
            now - held.modified < MAX_UPLOAD or not abandon(bucket, model, number)
        ):
            continue
        deleted += remove_objects(bucket, model, number, held.record)
    return deleted


def read_clock(bucket: Bucket) -> datetime:
    """The bucket's time. Raises ``StorageFailed``."""
    name = secrets.token_hex(8)
    key = f".probes/{name}"
    bucket.create(key, name.encode())
    try:
        found = bucket.read(key)
    finally:
        bucket.delete([key])
    if found is None:
        raise StorageFailed(f"object store {bucket.location}: what has just been written is not there")
    return found.modified
