"""Deletes old versions: never one that has a role, nor the newest ones.

The manifest of a deleted version stays as ``<model>/records/<N>.json``: its decision record outlives it.
"""

import shutil
from dataclasses import dataclass

from modelyard.models.registry import manifest as manifests
from modelyard.models.registry.rollout import InvalidChange, change_rollout, read_rollout
from modelyard.models.registry.serving_config import NOTHING, read_present
from modelyard.models.registry.store import Store, replace_file

RECORDS = "records"
TRASH = ".removed-"


@dataclass(frozen=True)
class RemovableVersion:
    """A version that may be deleted."""

    model: str
    version: int
    size: int
    """Bytes of its files."""


def find_removable(store: Store, model: str, keep: int) -> tuple[RemovableVersion, ...]:
    """Versions that have no role and are not among the newest ``keep`` (at least one), ascending."""
    versions = store.versions(model)
    loaded = {*read_rollout(store, model).loaded, *_configured(store, model)}
    old = versions[: -max(1, keep)]
    return tuple(
        RemovableVersion(model, number, measure_size(store, model, number)) for number in old if number not in loaded
    )


def remove_version(store: Store, model: str, version: int, by: str, reason: str) -> None:
    """Deletes a version's files, and records it in the rollout's history.

    Raises:
        InvalidChange: the version has a role by now, or is the newest.
        UnknownName: there is no such version.
    """
    folder = store.path(model, version)
    with store.lock(f"promote-{model}"):  # no other process gives it a role meanwhile
        record = store.manifest(model, version).model_dump_json(indent=1)
        if version == store.versions(model)[-1]:
            raise InvalidChange(f"version {version} is the newest of {model}: its number must not be used again")
        if version in _configured(store, model) and version not in read_rollout(store, model).loaded:
            raise InvalidChange(f"version {version} is loaded in the place of a damaged one")
        change_rollout(store, model, lambda now: now.remove(version, by=by, reason=reason))
        path = store.folder(model) / RECORDS / f"{version}.json"
        store.change_file(path, lambda: replace_file(path, record.encode()))
        trash = folder.with_name(f"{TRASH}{version}")
        store.remove_version(model, version, trash)
    shutil.rmtree(trash)


def _configured(store: Store, model: str) -> tuple[int, ...]:
    return read_present(store).get(model, NOTHING).versions


def clear_trash(store: Store, model: str) -> None:
    """Finishes deletions that were interrupted."""
    for trash in store.folder(model).glob(f"{TRASH}*"):
        shutil.rmtree(trash, ignore_errors=True)


def read_record(store: Store, model: str, version: int) -> manifests.Manifest:
    """The manifest of a version, also of a deleted one. Raises ``UnknownName`` or ``CorruptData``."""
    record = store.folder(model) / RECORDS / f"{version}.json"
    if record.exists():
        return manifests.Manifest.model_validate_json(record.read_bytes())
    return store.manifest(model, version)


def measure_size(store: Store, model: str, version: int) -> int:
    """Bytes of a version's files."""
    return sum(path.stat().st_size for path in store.path(model, version).rglob("*") if path.is_file())
