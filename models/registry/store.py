"""Versions on disk: ``<root>/<model>/<N>/``, TensorFlow Serving's layout. Slim: no Keras, no TensorFlow.

A numeric folder exists only complete: it is staged under a dot-name on the same file system, its manifest is written
last, everything is flushed, and one rename that refuses to replace gives it its number.
"""

import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from modelyard.models.errors import CorruptData, StorageFailed, Superseded, UnknownName
from modelyard.models.registry import manifest as manifests
from modelyard.models.registry.disk.atomic import flush, flush_tree, rename_no_replace
from modelyard.models.registry.locks import LOCK_TIMEOUT_S, hold_lock
from modelyard.models.registry.manifest import Manifest, parse_version
from modelyard.models.registry.reserve import fill_reserve, release_reserve
from modelyard.models.registry.storage_errors import make_storage_error, translate_storage_errors

NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
STAGING = ".staging-"
FENCE = ".fence-"
"""With a job's id: file of the first attempt that may publish. It stays: who stood still may go on at any time."""
RESERVE = ".reserve"
IsMade = Callable[[bytes, bytes | None, bytes], bool]


class Store:
    """The model store. Safe for several processes: numbers are claimed by the file system, pointers under a lock."""

    def __init__(self, root: Path, lock_timeout_s: float = LOCK_TIMEOUT_S) -> None:
        self.root = root
        self._lock_timeout_s = lock_timeout_s

    def prepare(self) -> None:
        """Creates the folder and proves that it can be written.

        Raises:
            StorageFailed: it cannot.
        """
        probe = self.root / f".probe-{secrets.token_hex(4)}"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"")
            probe.unlink()
            fill_reserve(self.root / RESERVE)
        except OSError as error:
            raise StorageFailed(
                f"model store {self.root} is not writable: {error.strerror}; it must belong to user {os.getuid()}"
            ) from error

    def models(self) -> tuple[str, ...]:
        """Models with a folder in the store, sorted."""
        if not self.root.is_dir():
            return ()
        return tuple(sorted(path.name for path in self.root.iterdir() if path.is_dir() and NAME.fullmatch(path.name)))

    def versions(self, model: str) -> tuple[int, ...]:
        """Complete versions of a model, ascending; empty for a model without any."""
        folder = self.folder(model)
        if not folder.is_dir():
            return ()
        found = {parse_version(path.name) for path in folder.iterdir()}
        return tuple(sorted(number for number in found if number and (folder / str(number) / manifests.FILE).exists()))

    def require_versions(self, model: str) -> tuple[int, ...]:
        """As ``versions``; raises ``UnknownName`` if there is none."""
        found = self.versions(model)
        if not found:
            raise UnknownName(f"model {model[:64]!r} has no version yet")
        return found

    def folder(self, model: str) -> Path:
        """Folder of a model.

        Raises:
            UnknownName: the name is not a lower-case identifier, so it cannot exist.
        """
        if not NAME.fullmatch(model):
            raise UnknownName(f"unknown model {model[:64]!r}")
        return self.root / model

    def path(self, model: str, version: int) -> Path:
        return self.folder(model) / str(version)

    def manifest(self, model: str, version: int) -> Manifest:
        """The manifest of a version.

        Raises:
            UnknownName: there is no such version.
            CorruptData: its manifest cannot be read or parsed.
        """
        path = self.path(model, version) / manifests.FILE
        try:
            return Manifest.model_validate_json(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            raise UnknownName(f"model {model!r} has no version {version}") from None
        except OSError as error:
            raise CorruptData(f"manifest of {model} version {version} cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise CorruptData(f"manifest of {model} version {version} is damaged: {first_line(error)}") from error

    def find_version_of(self, model: str, job: str) -> Manifest | None:
        """The version that a job published; a name that no model can have has none."""
        for number in reversed(self.versions(model)) if NAME.fullmatch(model) else ():
            with suppress(CorruptData, UnknownName):  # another version's damage does not concern this job
                if (found := self.manifest(model, number)).job == job:
                    return found
        return None

    def verify(self, model: str, version: int) -> Manifest:
        """Recomputes every checksum of a version.

        Raises:
            CorruptData: a file is missing, extra or changed.
        """
        found = self.manifest(model, version)
        actual = checksums(self.path(model, version))
        if actual != found.files:
            changed = sorted(set(actual.items()) ^ set(found.files.items()))
            raise CorruptData(f"{model} version {version}: {changed[0][0]} is missing, extra or changed")
        return found

    @contextmanager
    def staging(self, model: str, name: str = "version") -> Iterator[Path]:
        """A new folder to build a version in, ``.staging-<name>-...``; deleted on exit unless it was published."""
        folder = self.folder(model)
        staged = folder / f"{STAGING}{name}-{secrets.token_hex(4)}"
        try:
            staged.mkdir(parents=True)
        except OSError as error:
            raise make_storage_error(error) from error
        try:
            yield staged
        finally:
            shutil.rmtree(staged, ignore_errors=True)

    def publish(
        self,
        staged: Path,
        seal: Callable[[int, dict[str, str]], Manifest],
        job: str | None = None,
        attempt: int = 1,
    ) -> Manifest:
        """Gives a staged folder the next free number, atomically.

        Args:
            staged: a folder from ``staging()`` that holds the complete version but its manifest.
            seal: makes the manifest from the number and the checksums of all files.
            job: whose version it is, of which ``attempt``.

        Raises:
            Superseded: ``supersede`` was called for this attempt.
            StorageFailed: the store cannot be written.
        """
        folder = staged.parent
        files = checksums(staged)
        flush_tree(staged)
        with self.lock(f"publish-{folder.name}"):
            if job and attempt < self._first_valid_attempt(folder, job):
                raise Superseded(f"another attempt of {job} has taken over")
            number = self._next_number(folder)
            while True:
                sealed = seal(number, files)
                replace_file(staged / manifests.FILE, sealed.model_dump_json(indent=1).encode())
                if rename_no_replace(staged, folder / str(number)):
                    flush(folder)
                    return sealed
                number += 1

    def supersede(self, model: str, job: str, attempt: int) -> None:
        """Forbids the attempts of a job before ``attempt`` to publish: what ``find_version_of`` then finds is final.

        An attempt may have the ledger's permission, stand still, and go on when another one has been started.

        Raises:
            StorageFailed: the store cannot be written, or an earlier attempt stands still in the middle of its rename.
        """
        with self.lock(f"publish-{model}"):
            replace_file(self.folder(model) / f"{FENCE}{job}", str(attempt).encode())

    @staticmethod
    def _first_valid_attempt(folder: Path, job: str) -> int:
        try:
            return int((folder / f"{FENCE}{job}").read_bytes())
        except FileNotFoundError:
            return 0

    @contextmanager
    def lock(self, name: str = "pointers", timeout_s: float | None = None) -> Iterator[None]:
        """Held by one process at a time; it ends with the process. ``pointers`` is held by ``change_pointers``.

        Raises:
            StorageFailed: the store cannot be written, or another process holds it, and stands still.
        """
        with hold_lock(self.root / f".{name}.lock", self._lock_timeout_s if timeout_s is None else timeout_s):
            yield

    @contextmanager
    def change_pointers(self) -> Iterator[None]:
        """Held while rollout.json and models.config are read, changed and written back, also on a full disk.

        Raises:
            StorageFailed: as ``lock``; or the disk does not let the block read or write.
        """
        with self.lock(), translate_storage_errors(), release_reserve(self.root / RESERVE):
            yield

    # --- what machines that share a store agree upon (sharing/); with a folder alone, there is nobody to agree with ---

    def change_document(
        self,
        path: Path,
        edit: Callable[[bytes | None], bytes],
        is_made: IsMade,  # noqa: ARG002  # nothing is lost on the way to a disk
    ) -> bytes:
        """Replaces a file by what ``edit`` makes of it, or of None if there is none. Returns the new content.

        Args:
            is_made: whether ``(now, before, ours)`` say that a write was made whose answer was lost.
        """
        content = edit(path.read_bytes() if path.exists() else None)
        replace_file(path, content)
        return content

    def change_file(
        self,
        path: Path,  # noqa: ARG002
        change: Callable[[], None],
        *,
        may_wait: bool = False,  # noqa: ARG002
    ) -> None:
        """Has a file changed by a function. ``may_wait``: no error if others can only hear of it by the next change."""
        change()

    def read_shared(self, name: str) -> Mapping[str, bytes]:  # noqa: ARG002  # where a bucket holds the store
        """A small file of each model as all machines have it now; none, where this folder is the store."""
        return {}

    def find_manifest(self, model: str, version: int) -> Manifest:
        """The manifest of a version on whichever machine; raises as ``manifest``."""
        return self.manifest(model, version)

    def remove_file(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def remove_version(self, model: str, version: int, trash: Path) -> None:
        """Takes a version away, at once and for everybody; its files are in ``trash``."""
        self.path(model, version).rename(trash)

    def delete_abandoned(self, model: str) -> None:
        """Deletes what uploads have left that never became versions."""

    @staticmethod
    def _next_number(folder: Path) -> int:
        """Above all that there are."""
        number = max((parse_version(path.name) or 0 for path in folder.iterdir()), default=0) + 1
        if number > manifests.MAX_VERSION:
            raise StorageFailed(f"{folder.name} has no number left above {number - 1}: remove what has that name")
        return number


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below ``folder`` but the manifest, by relative path."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        relative = path.relative_to(folder).as_posix()
        if relative != manifests.FILE:
            with path.open("rb") as file:
                found[relative] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def replace_file(path: Path, content: bytes) -> None:
    """Writes a file atomically: readers see the old or the new content, never a part."""
    partial = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        flush(path.parent)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise make_storage_error(error, path) from error


def first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
