"""Brings a version from a bucket into the folder: each file compared with the manifest, and visible only when whole."""

import hashlib
import re
from pathlib import Path, PurePosixPath

from modelyard.models.errors import CorruptData
from modelyard.models.registry import manifest as manifests
from modelyard.models.registry.bucket.bucket import Bucket
from modelyard.models.registry.bucket.versions import VersionRecord, file_key
from modelyard.models.registry.disk.atomic import flush, flush_tree, rename_no_replace
from modelyard.models.registry.manifest import Manifest
from modelyard.models.registry.storage_errors import make_storage_error
from modelyard.models.registry.store import Store

STAGED = "sync"
"""In the names of folders that versions are brought into."""
MAX_MANIFEST_BYTES = 16 << 20


def lay_version(store: Store, bucket: Bucket, model: str, version: int, record: VersionRecord) -> None:
    """Makes a published version one of the folder, unless it is.

    Raises:
        CorruptData: a file in the bucket is missing, or not what was published; the text names it.
        StorageFailed: the bucket is away, or the disk is full.
    """
    if version in store.versions(model):
        return
    with store.staging(model, STAGED) as staged:
        try:
            content = _read_manifest(bucket, model, version, record)
            for file, digest in parse_manifest(content, model, version).files.items():
                _download(bucket, model, version, file, digest, staged / check_path(file, model, version))
            (staged / manifests.FILE).parent.mkdir(parents=True, exist_ok=True)
            (staged / manifests.FILE).write_bytes(content)
            flush_tree(staged)
        except OSError as error:
            raise make_storage_error(error) from error
        if rename_no_replace(staged, store.path(model, version)):
            flush(store.folder(model))


def _read_manifest(bucket: Bucket, model: str, version: int, record: VersionRecord) -> bytes:
    content, size = [], 0
    try:
        for part in bucket.stream(file_key(model, version, manifests.FILE)):
            content.append(part)
            size += len(part)
            if size > MAX_MANIFEST_BYTES:
                raise CorruptData(f"{model} version {version}: {manifests.FILE} is larger than any manifest")
    except FileNotFoundError:
        raise CorruptData(f"{model} version {version}: {manifests.FILE} is missing in the bucket") from None
    found = b"".join(content)
    if hashlib.sha256(found).hexdigest() != record.manifest:
        raise CorruptData(f"{model} version {version}: {manifests.FILE} is not what was published")
    return found


def parse_manifest(content: bytes, model: str, version: int) -> Manifest:
    """Raises ``CorruptData`` if it is none, or that of another version."""
    try:
        found = Manifest.model_validate_json(content)
    except ValueError:
        raise CorruptData(f"{model} version {version}: {manifests.FILE} cannot be parsed") from None
    if (found.model, found.version) != (model, version):
        raise CorruptData(
            f"{model} version {version}: {manifests.FILE} is that of {found.model} version {found.version}"
        )
    return found


def check_path(file: str, model: str, version: int) -> str:
    """A path inside the version's folder; raises ``CorruptData`` for any other: the bucket may hold anything."""
    parts = PurePosixPath(file).parts
    if not parts or file.startswith("/") or ".." in parts or re.search(r"[\x00-\x1f\\]", file):
        raise CorruptData(f"{model} version {version}: a file of its manifest is outside its folder")
    return file


def _download(bucket: Bucket, model: str, version: int, file: str, digest: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    found = hashlib.sha256()
    with path.open("xb") as target:
        try:
            for part in bucket.stream(file_key(model, version, file)):
                target.write(part)
                found.update(part)
        except FileNotFoundError:
            raise CorruptData(f"{model} version {version}: {file} is missing in the bucket") from None
    if found.hexdigest() != digest:
        raise CorruptData(f"{model} version {version}: {file} is not what was published")
