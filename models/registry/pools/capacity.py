"""Whether a pool has room for more versions: the memory that it states, less what it has loaded. Slim."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from modelyard.models.errors import ModelyardError
from modelyard.models.registry.pools.size import MB, find_memory
from modelyard.models.registry.rollout import read_wanted
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
    """All versions that the servers of a pool load, by the rollouts of now."""
    return tuple(_list_loaded(store, pool))


def _list_loaded(store: Store, pool: str) -> Iterator[LoadedVersion]:
    entries: dict[str, Entry] = read_wanted(store)
    for model, entry in entries.items():
        if pool in entry.pools:
            yield from (LoadedVersion(model, each, find_memory(store, model, each)) for each in entry.versions)


def require_room(store: Store, pool: str, limit: int | None, wanted: Iterable[Key]) -> None:
    """Checks that versions fit beside those that a pool has; the caller holds the store's lock.

    Args:
        limit: bytes that each server of the pool has; None: it takes what comes.
        wanted: those that are to be loaded; what the pool has of them counts once.

    Raises:
        NoRoom: they do not; the text says what each takes.
    """
    if limit is None:
        return
    loaded = list_loaded(store, pool)
    known = {(each.model, each.version) for each in loaded}
    added = [LoadedVersion(*key, find_memory(store, *key)) for key in dict.fromkeys(wanted) if key not in known]
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
