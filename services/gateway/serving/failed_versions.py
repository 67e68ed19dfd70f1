"""Versions that should answer, and that no model server can load: damaged on disk, as a rule.

They are found by requests and by readiness, and checked again once a second while somebody asks. Everything here but
``get`` and ``note`` runs on the event loop's thread.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
import structlog

from modelyard.models.errors import ModelyardError
from modelyard.models.registry.store import Store
from modelyard.models.tfserving.messages import ServingFailed, VersionStatus
from modelyard.services.gateway.metrics import Metrics

log = structlog.get_logger()

RECHECK_S = 1.0
PASSING = frozenset({"RESOURCE_EXHAUSTED", "UNAVAILABLE", "ABORTED", "CANCELLED", "DEADLINE_EXCEEDED"})
"""Codes of a failed load that say nothing about the files. Anything else does: a version that should answer was loaded
and compared with training before."""
PRESENT = frozenset({"AVAILABLE", "START", "LOADING"})
"""States in which a version answers, or soon will."""

Key = tuple[str, int]
"""Model and version."""
Stamps = frozenset[tuple[str, int, int, int]]
"""Path, size and times of every file of a version."""


class VersionFailed(ServingFailed):
    """The version cannot be loaded; the text is fit for the public."""


@dataclass(frozen=True)
class FailedVersion:
    """One of them, and the cause, which names files."""

    model: str
    version: int
    code: str
    """gRPC's, by name."""
    cause: str

    @property
    def is_damaged(self) -> bool:
        return self.code not in PASSING

    def make_error(self) -> VersionFailed:
        """The error for whoever asks for it: a 500 that no retry mends, or a 503."""
        name = f"version {self.version} of {self.model}"
        if self.is_damaged:
            text = f"DATA_LOSS: {name} is damaged on disk and cannot be loaded"
            return VersionFailed(grpc.StatusCode.DATA_LOSS, text)
        text = f"{name} cannot be loaded at present ({self.code}); try again later"
        return VersionFailed(grpc.StatusCode.UNAVAILABLE, text)

    def describe(self) -> str:
        """For operators, with the cause."""
        what = "is damaged on disk" if self.is_damaged else "cannot be loaded"
        return f"{self.model} version {self.version} {what}: {self.code}: {self.cause}"


class FailedVersions:
    """What is known of them."""

    def __init__(
        self,
        store: Store,
        ask: Callable[[str], Awaitable[Sequence[VersionStatus]]],
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``ask``: the states of a model's versions in every model server that answers."""
        self._disk = DiskCheck(store)
        self._ask = ask
        self._metrics = metrics
        self._clock = clock
        self._failed: dict[Key, FailedVersion] = {}
        self._checked_at: dict[Key, float] = {}
        self._checks: dict[Key, asyncio.Task[None]] = {}

    def __bool__(self) -> bool:
        return bool(self._failed)

    def get(self, model: str, version: int) -> FailedVersion | None:
        """What is wrong with a version, as far as anybody knows."""
        return self._failed.get((model, version))

    def note(self, failed: FailedVersion) -> None:
        """Makes it known."""
        key = (failed.model, failed.version)
        if self._failed.get(key) != failed:
            log.error("version cannot be loaded", **vars(failed))
        self._failed[key] = failed
        self._metrics.failed_versions.labels(*key).set(1)

    async def check(self, model: str, version: int) -> FailedVersion | None:
        """What is wrong with a version, asked now unless that was a moment ago.

        Raises:
            ServingFailed: no model server answers.
        """
        key = (model, version)
        if self._clock() - self._checked_at.get(key, float("-inf")) >= RECHECK_S:
            await asyncio.shield(self._start(key))
        return self._failed.get(key)

    async def refresh(self, model: str) -> None:
        """Starts to check again what has failed of a model; whoever comes later sees the result."""
        for key in [key for key in self._failed if key[0] == model]:
            if self._clock() - self._checked_at.get(key, float("-inf")) >= RECHECK_S:
                self._start(key)

    async def close(self) -> None:
        """Ends the checks in progress."""
        checks = list(self._checks.values())
        for check in checks:
            check.cancel()
        await asyncio.gather(*checks, return_exceptions=True)

    def _start(self, key: Key) -> "asyncio.Task[None]":
        if key not in self._checks:
            self._checks[key] = asyncio.create_task(self._check(key))
            self._checks[key].add_done_callback(lambda done: self._finish(key, done))
        return self._checks[key]

    def _finish(self, key: Key, done: "asyncio.Task[None]") -> None:
        del self._checks[key]
        self._checked_at[key] = self._clock()
        if not done.cancelled():
            done.exception()  # ``check`` raises it, ``refresh`` has nobody to tell

    async def _check(self, key: Key) -> None:
        failed = await self._find(*key)
        if failed:
            self.note(failed)
        elif self._failed.pop(key, None):
            self._metrics.failed_versions.remove(*key)
            log.info("version can be loaded again", model=key[0], version=key[1])

    async def _find(self, model: str, version: int) -> FailedVersion | None:
        """By its manifest, by every model server, and by its files where these do not know it."""
        if cause := await asyncio.to_thread(self._disk.find_unreadable, model, version):
            return FailedVersion(model, version, "DATA_LOSS", cause)
        found = [status for status in await self._ask(model) if status.version == version]
        if any(status.state in PRESENT for status in found):
            return None
        for status in found:
            if status.state == "END" and status.error_code != "OK":
                return FailedVersion(model, version, status.error_code, status.error_message)
        cause = await asyncio.to_thread(self._disk.find_damage, model, version)
        return FailedVersion(model, version, "DATA_LOSS", cause) if cause else None


class DiskCheck:
    """Compares versions with their manifests; files that have not changed since are not read again."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._verified: dict[Key, tuple[Stamps, str]] = {}

    def find_unreadable(self, model: str, version: int) -> str:
        """Why the manifest cannot be read; empty if it can."""
        try:
            self._store.manifest(model, version)
        except ModelyardError as error:
            return str(error)
        return ""

    def find_damage(self, model: str, version: int) -> str:
        """The first file that is missing, extra or changed; empty if the version is whole."""
        stamps = stamp_files(self._store.path(model, version))
        known, damage = self._verified.get((model, version), (None, ""))
        if known != stamps:
            damage = self._verify(model, version)
            self._verified[model, version] = (stamps, damage)
        return damage

    def _verify(self, model: str, version: int) -> str:
        try:
            self._store.verify(model, version)
        except (ModelyardError, OSError) as error:
            return str(error)
        return ""


def stamp_files(folder: Path) -> Stamps:
    """Stamps of every file below a folder."""
    files = [(path, path.stat()) for path in folder.rglob("*") if path.is_file()]
    return frozenset((str(path), found.st_size, found.st_mtime_ns, found.st_ctime_ns) for path, found in files)
