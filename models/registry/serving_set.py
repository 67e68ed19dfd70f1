"""The set of versions that model servers load, over time: at a start, every few seconds, and at a rollback. Slim."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from modelyard.models.errors import CorruptData, StorageFailed
from modelyard.models.registry import serving_config
from modelyard.models.registry.rollout import NoPreviousVersion, Rollout, change_rollout, read_rollout, read_wanted
from modelyard.models.registry.serving_config import Entry, Key, LeftOut
from modelyard.models.registry.store import Store, replace_file
from modelyard.models.types import DEFAULT_POOL


def prepare_config(store: Store, pools: Iterable[str] = ()) -> LeftOut:
    """Before model servers start: drops what nobody wants any more, then ``check_config``."""
    for model in store.models():
        release_abandoned(store, model)
    return check_config(store, pools)


def check_config(store: Store, pools: Iterable[str] = ()) -> LeftOut:
    """Checks every file of the wanted versions, and renders ``models.config``, and the files of other pools.

    Args:
        pools: those that get a file though no model is in them: their servers would not start without.

    Takes seconds for gigabytes; the store's lock is held only at the end. Returns what is left out. A model server that
    runs unloads what is damaged on disk, though it may answer from memory.

    Raises:
        StorageFailed: the store cannot be written.
    """
    damage = find_all_damage(store, read_wanted(store))
    with store.lock():
        for pool in pools:
            if not (path := store.root / serving_config.name_file(pool)).exists():
                replace_file(path, serving_config.render(store, {}).encode())
        return serving_config.write(store, read_wanted(store), damage)


def find_all_damage(store: Store, wanted: Mapping[str, Entry]) -> dict[Key, str]:
    """``serving_config.find_damage`` of every wanted version."""
    return {
        (model, version): serving_config.find_damage(store, model, version)
        for model, entry in wanted.items()
        for version in entry.versions
    }


def refresh_config(store: Store) -> LeftOut:
    """Renders again: what was left out enters when it is whole. Only what the file does not have yet is checked.

    Nothing is taken out because its folder is away: model servers that have it loaded go on answering from memory.

    Raises:
        StorageFailed: the store cannot be written.
    """
    with store.lock():
        present, wanted = serving_config.read_present(store), read_wanted(store)
        if not wanted:
            return serving_config.read_left_out(store)
        return serving_config.write(store, {**present, **wanted})


def is_current(store: Store) -> bool:
    """Whether ``models.config`` has the versions that the rollouts want in the default pool; labels may wait."""
    try:
        text = (store.root / serving_config.CONFIG).read_text()
    except OSError:
        return False
    present, (files, _) = serving_config.read_entries(store), serving_config.compose(store, read_wanted(store), {})
    labelled = {
        model: replace(entry, labels=present.get(model, serving_config.NOTHING).labels)
        for model, entry in files[DEFAULT_POOL].items()
    }
    return text == serving_config.render(store, labelled)


def roll_back(
    store: Store,
    model: str,
    *,
    by: str,
    reason: str,
    detail: dict[str, Any] | None = None,
    if_stable: int | None = None,
) -> Rollout:
    """Makes the previous version stable again.

    Raises:
        Overtaken: another version is stable than ``if_stable``.
        NoPreviousVersion: as ``Rollout.rollback``; or it is damaged, so that model servers may not have loaded it.
    """

    def edit(now: Rollout) -> Rollout:
        now.require_stable(if_stable)
        changed = now.rollback(by=by, reason=reason, detail=detail)
        obstacle = serving_config.find_obstacle(store, model, changed.stable or 0)
        if obstacle:
            raise NoPreviousVersion(f"version {now.stable} stays: {obstacle}")
        return changed

    return change_rollout(store, model, edit)


def release_abandoned(store: Store, model: str) -> None:
    """Unloads what a promotion that was cut off left loaded; nothing while a promotion is going on."""
    with suppress(StorageFailed, CorruptData), store.lock(f"promote-{model}", timeout_s=0):
        if _without_abandoned(now := read_rollout(store, model)) != now:
            change_rollout(store, model, _without_abandoned)


def _without_abandoned(now: Rollout) -> Rollout:
    """``keep`` has the previous stable version only, and only if it is lower; no pool loads it to no end."""
    stable, previous = now.stable or 0, now.previous
    keep = tuple(number for number in now.keep if number < stable and previous in (None, number))
    return now.model_copy(update={"keep": keep, "placement": now.placement.give_up()})
