"""What uses a version, what was made from it, and its files."""

from collections.abc import Iterator, Sequence
from contextlib import suppress

from flask import Blueprint

from modelyard.models.errors import CorruptData, StorageFailed, UnknownName
from modelyard.models.registry.manifest import FILE as MANIFEST
from modelyard.models.registry.manifest import Manifest
from modelyard.models.registry.retention import read_record
from modelyard.models.registry.rollout import read_rollout
from modelyard.models.registry.store import Store
from modelyard.services.gateway.http.json_body import Body
from modelyard.services.gateway.http.operation import json_view
from modelyard.services.ledger import Job, Ledger, State

MAX_JOBS = 200
"""Jobs of a model that are looked through, the newest."""


class UsingJob(Body):
    """A job that used a version; ``version`` is what it published."""

    id: str
    state: str
    version: int | None


class VersionUses(Body):
    """What uses a version, and what was made from it or measured against it."""

    roles: list[str]
    """stable, canary, shadow, and labels."""
    loaded: bool
    started_from: list[int]
    """Versions whose training began with its weights."""
    compared_with: list[int]
    """Versions whose gate compared them with this one."""
    captured: int | None = None
    """Captured predictions; null while the ledger is away, as what follows."""
    feedback: int | None = None
    """Those with feedback."""
    jobs: list[UsingJob] | None = None
    """Those of the newest 200 jobs whose gate compared with this version, published or rejected."""


class VersionFile(Body):
    """A file of a version; ``sha256`` is null of the manifest, which has the others'."""

    path: str
    bytes: int | None
    """Null where it is not there any more."""
    sha256: str | None


class VersionFiles(Body):
    """The files of a version."""

    bytes: int
    files: list[VersionFile]


def routes(store: Store, ledger: Ledger) -> Blueprint:
    """The views of a version's uses and files."""
    views = Blueprint("versions", __name__)

    @views.get("/api/models/<model>/versions/<version:version>/uses")
    @json_view(errors=(404, 500))
    def get_version_uses(model: str, version: int) -> VersionUses:
        """What uses a version, and what was made from it."""
        read_record(store, model, version)
        return find_uses(store, ledger, model, version)

    @views.get("/api/models/<model>/versions/<version:version>/files")
    @json_view(errors=(404, 500))
    def list_version_files(model: str, version: int) -> VersionFiles:
        """A version's files, with sizes and hashes."""
        files = list(describe_files(store, read_record(store, model, version)))
        return VersionFiles(bytes=sum(file.bytes or 0 for file in files), files=files)

    return views


def find_uses(store: Store, ledger: Ledger, model: str, version: int) -> VersionUses:
    """Roles of now; versions and jobs by their records; predictions by the ledger's."""
    now, others = read_rollout(store, model), list(read_manifests(store, model))
    known = VersionUses(
        roles=[role for role, number in now.all_labels.items() if number == version],
        loaded=version in now.loaded,
        started_from=[one.version for one in others if one.training and one.training.started_from == version],
        compared_with=[one.version for one in others if one.verdict.champion == version],
    )
    try:
        captured, feedback = ledger.feedback.count_of_version(model, version)
        jobs = ledger.jobs.find(model=model, states=(State.SUCCEEDED, State.REJECTED), limit=MAX_JOBS)
    except StorageFailed:
        return known
    counted = {"captured": captured, "feedback": feedback, "jobs": list_comparing(jobs, version)}
    return known.model_copy(update=counted)


def read_manifests(store: Store, model: str) -> Iterator[Manifest]:
    """Those of a model's versions that can be read."""
    for number in store.versions(model):
        with suppress(CorruptData, UnknownName):  # another version's damage does not concern this one
            yield store.manifest(model, number)


def list_comparing(jobs: Sequence[Job], version: int) -> list[UsingJob]:
    """Jobs whose gate compared with a version."""
    compared = (job for job in jobs if (job.result.get("verdict") or {}).get("champion") == version)
    return [UsingJob(id=job.id, state=job.state, version=job.result.get("version")) for job in compared]


def describe_files(store: Store, manifest: Manifest) -> Iterator[VersionFile]:
    """As the manifest has them, in order of path, and the manifest itself."""
    folder = store.path(manifest.model, manifest.version)
    for path, digest in sorted({**manifest.files, MANIFEST: None}.items()):
        try:
            size = (folder / path).stat().st_size
        except OSError:
            size = None
        yield VersionFile(path=path, bytes=size, sha256=digest)
