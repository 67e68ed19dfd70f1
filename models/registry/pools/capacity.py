"""Whether a pool has room for more versions: the memory that it states, less what it has loaded. Slim."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from modelyard.models.errors import CorruptData, ModelyardError
from modelyard.models.registry.pools.size import MB, find_memory
from modelyard.models.registry.rollout import FILE, parse_rollout, read_wanted
from modelyard.models.registry.serving_config import Entry, Key
from modelyard.models.registry.store import Store

MAX_NAMED = 5
"""Versions that a refusal names; the largest."""


class NoRoom(ModelyardError):
    """A pool has too little memory for a version; the text has the arithmetic."""

    status = 409


@dataclass(frozen=True)
class LoadedVersion:
    """A version that a pool loads, and what it takes."""

    model: str
    version: int
    memory: int
    """Megabytes."""

    def __str__(self) -> str:
        return f"{self.model} {self.version} ({self.memory:,} MB)"


def list_loaded(store: Store, pool: str) -> tuple[LoadedVersion, ...]:
    """All versions that the servers of a pool load, by the rollouts of now that are here."""
    return tuple(_list_loaded(store, pool, read_wanted(store), anywhere=False))


def _list_loaded(store: Store, pool: str, entries: Mapping[str, Entry], *, anywhere: bool) -> Iterator[LoadedVersion]:
    for model, entry in entries.items():
        if pool in entry.pools:
            for version in entry.versions:
                yield LoadedVersion(model, version, find_memory(store, model, version, anywhere=anywhere))


def _read_wanted_everywhere(store: Store) -> Mapping[str, Entry]:
    """As all machines have it now: this folder may be behind."""
    found = read_wanted(store)
    for model, content in store.read_shared(FILE).items():
        with suppress(CorruptData):  # it stays as it is here
            found[model] = parse_rollout(model, content).entry
    return found


@contextmanager
def hold_room(store: Store, pool: str, limit: int | None) -> Iterator[None]:
    """Whoever takes memory of a pool does so alone, on all machines; one that states none takes what comes.

    Raises:
        StorageFailed: somebody else holds it, or the bucket is away.
    """
    if limit is None:
        yield
    else:
        with store.lock(f"room-{pool}"):
            yield


def require_room(store: Store, pool: str, limit: int | None, wanted: Iterable[Key]) -> None:
    """Checks that versions fit beside those that a pool has; the caller is within ``hold_room``.

    Args:
        limit: bytes that each server of the pool has; None: it takes what comes.
        wanted: those that are to be loaded; what the pool has of them counts once.

    Raises:
        NoRoom: they do not; the text says what each takes.
    """
    if limit is None:
        return
    loaded = tuple(_list_loaded(store, pool, _read_wanted_everywhere(store), anywhere=True))
    known = {(each.model, each.version) for each in loaded}
    missing = [key for key in dict.fromkeys(wanted) if key not in known]
    added = [LoadedVersion(*key, find_memory(store, *key, anywhere=True)) for key in missing]
    room, taken, needed = limit // MB, sum(each.memory for each in loaded), sum(each.memory for each in added)
    if added and taken + needed > room:
        raise NoRoom(describe_shortage(pool, room, loaded, added))


def describe_shortage(pool: str, room: int, loaded: Iterable[LoadedVersion], added: Iterable[LoadedVersion]) -> str:
    """``m 7 needs 412 MB; pool gpu has 1,024 MB, 700 MB taken by m 6 (412 MB) and n 3 (288 MB): 88 MB short``."""
    added, loaded = list(added), sorted(loaded, key=lambda each: -each.memory)
    taken, needed = sum(each.memory for each in loaded), sum(each.memory for each in added)
    if len(added) == 1:
        subject = f"{added[0].model} {added[0].version} needs {needed:,} MB"
    else:
        subject = f"{_join(added)} need {needed:,} MB"
    used = f"{taken:,} MB taken by {_join(loaded)}" if loaded else "none taken"
    return f"{subject}; pool {pool} has {room:,} MB, {used}: {taken + needed - room:,} MB short"


def _join(versions: list[LoadedVersion]) -> str:
    named, more = list(map(str, versions[:MAX_NAMED])), len(versions) - MAX_NAMED
    if more > 0:
        rest = sum(each.memory for each in versions[MAX_NAMED:])
        named.append(f"{more} more ({rest:,} MB)")
    return named[0] if len(named) == 1 else f"{', '.join(named[:-1])} and {named[-1]}"
