"""Which versions may go, and letting go of them: never one that has a role, and the newest stay.

What a version said of itself stays as ``<model>/records/<N>.json``: its decision record outlives it.
"""

import shutil
from dataclasses import dataclass

from modelyard.models.registry import manifest as manifests
from modelyard.models.registry import rollout
from modelyard.models.registry.rollout import NotPossible
from modelyard.models.registry.store import Store

RECORDS = "records"
TRASH = ".removed-"


@dataclass(frozen=True)
class Removable:
    """A version that nothing needs."""

    model: str
    version: int
    size: int
    """Bytes of its files."""


def removable(store: Store, model: str, keep: int) -> tuple[Removable, ...]:
    """Versions that have no role and are not among the newest ``keep`` (one at least), ascending."""
    versions, loaded = store.versions(model), rollout.read(store, model).loaded
    old = versions[: -max(1, keep)]
    return tuple(Removable(model, number, size_of(store, model, number)) for number in old if number not in loaded)


def remove(store: Store, model: str, version: int, by: str, reason: str) -> None:
    """Deletes a version's files, and writes its end into the rollout's history.

    Raises:
        NotPossible: it has a role by now, or is the newest.
        UnknownName: there is no such version.
    """
    folder = store.path(model, version)
    with store.lock(f"promote-{model}"):  # nobody gives it a role meanwhile
        record = store.manifest(model, version).model_dump_json(indent=1)
        if version == store.versions(model)[-1]:
            raise NotPossible(f"version {version} is the newest of {model}: its number must not be given again")
        rollout.change(store, model, lambda now: now.remove(version, by=by, reason=reason))
        records = store.folder(model) / RECORDS
        records.mkdir(exist_ok=True)
        (records / f"{version}.json").write_text(record)
        trash = folder.rename(folder.with_name(f"{TRASH}{version}"))
    shutil.rmtree(trash)


def clear_trash(store: Store, model: str) -> None:
    """Finishes removals that were cut short."""
    for trash in store.folder(model).glob(f"{TRASH}*"):
        shutil.rmtree(trash, ignore_errors=True)


def record(store: Store, model: str, version: int) -> manifests.Manifest:
    """What a version says of itself, or said before it was removed. Raises ``UnknownName`` or ``CorruptData``."""
    kept = store.folder(model) / RECORDS / f"{version}.json"
    if kept.exists():
        return manifests.Manifest.model_validate_json(kept.read_bytes())
    return store.manifest(model, version)


def size_of(store: Store, model: str, version: int) -> int:
    return sum(path.stat().st_size for path in store.path(model, version).rglob("*") if path.is_file())
