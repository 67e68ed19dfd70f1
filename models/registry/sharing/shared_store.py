"""The model store where a bucket holds it: every process works on a folder as ever, and the bucket decides.

A version is one when the bucket says so, and then comes into the folder. A rollout is changed in the bucket first, by a
conditional write, and then in the folder. What others do comes into the folder by ``follower.py``.
"""

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from modelyard.models.errors import CorruptData, StorageFailed, UnknownName
from modelyard.models.registry import manifest as manifests
from modelyard.models.registry.bucket.bucket import Bucket
from modelyard.models.registry.bucket.lease import hold_lease
from modelyard.models.registry.bucket.location import parse_location
from modelyard.models.registry.bucket.versions import (
    INDEX,
    file_key,
    read_job,
    read_version_record,
    supersede_attempts,
)
from modelyard.models.registry.disk.atomic import flush, flush_tree, rename_no_replace
from modelyard.models.registry.locks import LOCK_TIMEOUT_S
from modelyard.models.registry.manifest import Manifest
from modelyard.models.registry.sharing.cleaning import clean_model, remove_objects, remove_record
from modelyard.models.registry.sharing.documents import change_document, change_in_place, document_key, follow
from modelyard.models.registry.sharing.laying import lay_version
from modelyard.models.registry.sharing.publication import Seal, publish_version
from modelyard.models.registry.store import NAME, IsMade, Store, first_line, replace_file

MARK = ".bucket"
"""File of a folder that follows a bucket, with its URL."""
OUTAGE_S, PAUSE_S = 600.0, 2.0
LEASED = ("promote-", "import-", "room-")
"""Locks that hold on all machines begin with one of these; the others are of this machine's folder."""


def open_store(folder: Path, url: str | None = None) -> Store:
    """The model store in a folder; with a URL, the one that a bucket holds. Connects to nothing yet."""
    return SharedStore(folder, Bucket(parse_location(url))) if url else Store(folder)


class SharedStore(Store):
    """The store that machines share, and this machine's folder of it."""

    def __init__(
        self, root: Path, bucket: Bucket, lock_timeout_s: float = LOCK_TIMEOUT_S, outage_s: float = OUTAGE_S
    ) -> None:
        """``outage_s``: how long the publication of a job's version waits for a bucket that is away."""
        super().__init__(root, lock_timeout_s)
        self.bucket, self._outage_s = bucket, outage_s

    def prepare(self) -> None:
        """As a local store; and proves that the bucket writes on conditions, which some servers only seem to do.

        Raises:
            StorageFailed: the folder cannot be written, or the bucket cannot, or not so.
        """
        self.prepare_folder()
        check_conditions(self.bucket)

    def prepare_folder(self) -> None:
        """Creates this machine's folder; raises ``StorageFailed``, also for one that is not this bucket's."""
        super().prepare()
        mark = self.root / MARK
        known = mark.read_text() if mark.exists() else None
        if known not in (None, self.bucket.location.url):
            raise StorageFailed(
                f"model store {self.root} follows {known}: use another folder for {self.bucket.location}"
            )
        if known is None and any(map(self.versions, self.models())):
            raise StorageFailed(
                f"model store {self.root} has versions that are not from {self.bucket.location}: use an empty folder, "
                "or move it there by `modelyard sync-models --move`"
            )
        self.mark()

    def mark(self) -> None:
        """Notes in the folder which bucket it follows; raises ``StorageFailed``."""
        if not (self.root / MARK).exists():
            replace_file(self.root / MARK, self.bucket.location.url.encode())

    def publish(self, staged: Path, seal: Seal, job: str | None = None, attempt: int = 1) -> Manifest:
        """Makes a staged folder the next version of its model, in the bucket and then in this folder.

        Raises:
            Superseded: another attempt of the job has taken over.
            StorageFailed: bucket or folder cannot be written.
        """
        folder = staged.parent
        manifest = self._publish(staged, seal, job, attempt)
        flush_tree(staged)
        if rename_no_replace(staged, folder / str(manifest.version)):  # else it has come here in the meantime
            flush(folder)
        return manifest

    def _publish(self, staged: Path, seal: Seal, job: str | None, attempt: int) -> Manifest:
        """A job's version is tried again while the bucket is away: a training is worth minutes."""
        model, deadline, tried = staged.parent.name, time.monotonic() + self._outage_s, False
        while True:
            try:
                if tried and job and (known := self.find_version_of(model, job)):
                    return known  # it was published, and the answer was lost
                return publish_version(self.bucket, model, staged, seal, job, attempt)
            except StorageFailed:
                if job is None or time.monotonic() > deadline:
                    raise
            tried = True
            time.sleep(PAUSE_S)

    def supersede(self, model: str, job: str, attempt: int) -> None:
        """As in a local store, for attempts on every machine."""
        supersede_attempts(self.bucket, model, job, attempt)

    def find_version_of(self, model: str, job: str) -> Manifest | None:
        """The version that a job has published, on whichever machine; it is then in this folder, too.

        Raises:
            StorageFailed: the bucket is away.
        """
        if not NAME.fullmatch(model) or not (known := read_job(self.bucket, model, job)) or known[0].version is None:
            return None
        version = known[0].version
        held = read_version_record(self.bucket, model, version)
        if held is None or held.record.upload != known[0].upload or held.record.state != "published":
            return None
        if version not in self.versions(model):
            lay_version(self, self.bucket, model, version, held.record)
        return self.manifest(model, version)

    def change_document(self, path: Path, edit: Callable[[bytes | None], bytes], is_made: IsMade) -> bytes:
        content = change_document(self.bucket, document_key(self.root, path), edit, is_made)
        follow(path, content)
        return content

    def change_file(self, path: Path, change: Callable[[], None], *, may_wait: bool = False) -> None:
        try:
            change_in_place(self.bucket, document_key(self.root, path), path, change)
        except StorageFailed:
            if not may_wait:
                raise

    def share(self, path: Path) -> None:
        """Writes a file of the folder into the bucket, as it is. Raises ``StorageFailed``."""
        content = path.read_bytes()
        change_document(self.bucket, document_key(self.root, path), lambda _: content, lambda now, *_: now == content)

    def read_shared(self, name: str) -> Mapping[str, bytes]:
        """By the bucket, of all models that it lists or that are here: a list may be old.

        Raises:
            StorageFailed: the bucket is away.
        """
        listed = (PurePosixPath(each.key) for each in self.bucket.list(f"{INDEX}/"))
        models = {path.parent.name for path in listed if path.name == name and NAME.fullmatch(path.parent.name)}
        found = {model: self.bucket.read(f"{INDEX}/{model}/{name}") for model in sorted({*models, *self.models()})}
        return {model: each.data for model, each in found.items() if each}

    def find_manifest(self, model: str, version: int) -> Manifest:
        """By the bucket, if it has not come into this folder."""
        with suppress(UnknownName):
            return self.manifest(model, version)
        found = self.bucket.read(file_key(model, version, manifests.FILE))
        if found is None:
            raise UnknownName(f"model {model!r} has no version {version}")
        try:
            return Manifest.model_validate_json(found.data)
        except ValueError as error:
            raise CorruptData(f"manifest of {model} version {version} is damaged: {first_line(error)}") from error

    def remove_file(self, path: Path) -> None:
        self.bucket.delete([document_key(self.root, path)])
        super().remove_file(path)

    def remove_version(self, model: str, version: int, trash: Path) -> None:
        """Ends a version in the bucket, then here; its objects are deleted."""
        record = remove_record(self.bucket, model, version)
        super().remove_version(model, version, trash)
        remove_objects(self.bucket, model, version, record)

    def delete_abandoned(self, model: str) -> None:
        """Of uploads that failed, or are older than a day by the bucket's clock."""
        clean_model(self.bucket, model)

    @contextmanager
    def lock(self, name: str = "pointers", timeout_s: float | None = None) -> Iterator[None]:
        """As in a local store; what concerns a promotion or an import is held on all machines."""
        timeout_s = self._lock_timeout_s if timeout_s is None else timeout_s
        with super().lock(name, timeout_s):
            if name.startswith(LEASED):
                with hold_lease(self.bucket, name, timeout_s):
                    yield
            else:
                yield


def check_conditions(bucket: Bucket) -> None:
    """Raises ``StorageFailed`` unless the bucket refuses what a condition forbids."""
    key = f".probes/{secrets.token_hex(8)}"
    try:
        first = bucket.create(key, b"1")
        honest = first is not None and bucket.create(key, b"2") is None
        second = bucket.replace(key, b"3", first) if honest and first else None
        honest = second is not None and bucket.replace(key, b"4", first or {}) is None
    finally:
        with suppress(StorageFailed):  # it is empty, and what was found out counts
            bucket.delete([key])
    if not honest:
        raise StorageFailed(
            f"object store {bucket.location}: it ignores conditions of writes (If-None-Match, If-Match), "
            "without which two publishers could destroy each other's versions; use another one"
        )
