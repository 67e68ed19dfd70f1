"""Publishes a version into a bucket: takes a number, uploads, reads everything back, and then makes it a version."""

import hashlib
import secrets
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from modelyard.models.errors import CorruptData, StorageFailed, Superseded
from modelyard.models.registry import manifest as manifests
from modelyard.models.registry.bucket.bucket import Bucket
from modelyard.models.registry.bucket.versions import (
    Held,
    abandon,
    change_job,
    change_record,
    file_key,
    list_numbers,
    read_version_record,
    take_number,
)
from modelyard.models.registry.manifest import Manifest
from modelyard.models.registry.store import checksums, replace_file

TRANSFERS = 4
"""Files at a time."""

Seal = Callable[[int, dict[str, str]], Manifest]


def publish_version(bucket: Bucket, model: str, staged: Path, seal: Seal, job: str | None, attempt: int) -> Manifest:
    """Makes a staged folder the next version of a model, for everybody at once; writes its manifest into the folder.

    Raises:
        Superseded: another attempt of the job has taken over, or has published.
        StorageFailed: the bucket cannot be written; nothing is published, unless the job's record says so.
    """
    files = checksums(staged)
    above = max(list_numbers(bucket, model), default=0)
    number, held = take_number(bucket, model, secrets.token_hex(8), job, attempt, above)
    try:
        if job:
            change_job(bucket, model, job, attempt, number, held.record.upload)
        manifest = seal(number, files)
        content = manifest.model_dump_json(indent=1).encode()
        replace_file(staged / manifests.FILE, content)
        digests = {**files, manifests.FILE: hashlib.sha256(content).hexdigest()}
        upload_files(bucket, model, number, staged, digests)
        check_files(bucket, model, number, digests)
    except Exception:
        _give_up(bucket, model, number)
        raise
    published = held.record.model_copy(update={"state": "published", "manifest": digests[manifests.FILE]})
    if not change_record(bucket, model, number, held, published):
        _require_published(bucket, model, number, held)
    return manifest


def _give_up(bucket: Bucket, model: str, number: int) -> None:
    """As far as the bucket lets us; else whoever cleans up does it."""
    try:
        abandon(bucket, model, number)
    except StorageFailed:
        return


def _require_published(bucket: Bucket, model: str, number: int, held: Held) -> None:
    """The record is not as it was: whoever changed it gave the upload up, or has removed the version since."""
    now = read_version_record(bucket, model, number)
    if now is None or now.record.upload != held.record.upload or now.record.state not in ("published", "removed"):
        raise Superseded(f"the upload of {model} version {number} was given up by another process")


def upload_files(bucket: Bucket, model: str, version: int, folder: Path, files: Iterable[str]) -> None:
    """Raises ``StorageFailed``."""
    _for_each(lambda file: bucket.upload(file_key(model, version, file), folder / file), files)


def check_files(bucket: Bucket, model: str, version: int, digests: Mapping[str, str]) -> None:
    """Reads every file back.

    Raises:
        CorruptData: one is not what was uploaded.
    """

    def check(file: str) -> None:
        found = hashlib.sha256()
        try:
            for part in bucket.stream(file_key(model, version, file)):
                found.update(part)
        except FileNotFoundError:
            raise CorruptData(f"{model} version {version}: {file} is not in the bucket") from None
        if found.hexdigest() != digests[file]:
            raise CorruptData(f"{model} version {version}: {file} came out of the bucket changed")

    _for_each(check, digests)


def _for_each(action: Callable[[str], None], files: Iterable[str]) -> None:
    with ThreadPoolExecutor(TRANSFERS, thread_name_prefix="transfer") as pool:
        for done in [pool.submit(action, file) for file in files]:
            done.result()
