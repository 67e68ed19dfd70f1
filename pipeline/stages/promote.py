"""Gives a published version a role, once every model server has loaded it and answers as the trained model did."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from modelyard.models.errors import ModelyardError
from modelyard.models.registry.manifest import Manifest
from modelyard.models.registry.pools.capacity import NoRoom, hold_room, require_room
from modelyard.models.registry.roles.canary import Canary
from modelyard.models.registry.roles.placement import Placement
from modelyard.models.registry.rollout import InvalidChange, Overtaken, Rollout, change_rollout, read_rollout
from modelyard.models.registry.store import Store
from modelyard.models.tfserving.messages import ServingFailed
from modelyard.models.tfserving.pools import ServingPools, UnknownPool
from modelyard.pipeline import golden
from modelyard.pipeline.job import Promotion
from modelyard.pipeline.progress import Progress, Report
from modelyard.pipeline.stages.loaded import (
    VersionNotServed,
    check_answers,
    connect,
    find_error,
    find_servers,
    require_whole,
)
from modelyard.pipeline.stages.move import LOAD_TIMEOUT_S, NotMoved, move_locked

CANARY_PERCENT = 10.0
"""Share of the requests for the canary that a job starts."""

RoleChange = Callable[[Rollout, str, dict[str, Any]], Rollout]
"""Gives the version its role: ``(rollout, reason, detail)`` -> the changed rollout."""


def promote(
    store: Store,
    manifest: Manifest,
    pools: ServingPools,
    *,
    by: str,
    report: Report,
    why: str = "",
    deadline_s: float = LOAD_TIMEOUT_S,
) -> Promotion:
    """Makes the version stable, once it has passed the checks of ``give_role``."""

    def make_stable(now: Rollout, reason: str, detail: dict[str, Any]) -> Rollout:
        return now.promote(manifest.version, by=by, reason=reason, detail=detail)

    return give_role(store, manifest, pools, make_stable, by=by, report=report, why=why, deadline_s=deadline_s)


def start_canary(
    store: Store,
    manifest: Manifest,
    pools: ServingPools,
    *,
    by: str,
    report: Report,
    percent: float = CANARY_PERCENT,
) -> Promotion:
    """Makes the version the canary, once it has passed the checks of ``give_role``."""
    canary = Canary(version=manifest.version, percent=percent, since=datetime.now(UTC))

    def make_canary(now: Rollout, reason: str, detail: dict[str, Any]) -> Rollout:
        return now.start_canary(canary, by=by, reason=reason, detail=detail)

    done = give_role(store, manifest, pools, make_canary, by=by, report=report)
    return replace(done, percent=percent if done.promoted else 0.0)


def give_role(
    store: Store,
    manifest: Manifest,
    pools: ServingPools,
    edit: RoleChange,
    *,
    by: str,
    report: Report,
    why: str = "",
    deadline_s: float = LOAD_TIMEOUT_S,
) -> Promotion:
    """Loads the version beside the stable one, compares its answers with training's, and edits ``rollout.json``.

    A failure before that is recorded in the rollout's history, and changes nothing about who answers.

    Args:
        pools: addresses of every model server, and memory; where a pool has none, the version gets its role unchecked.
        edit: gives the version its role.
        by: who or what requested it, for the history.
        why: their reason, for the history.
        deadline_s: seconds for each model server to load the version.

    Raises:
        InvalidChange: the edit is not possible any more; the version is unloaded.
    """
    with store.lock(f"promote-{manifest.model}"):  # a second one would unload the version that this one preloaded
        return _give_role(store, manifest, pools, edit, by, report, {"why": why} if why else {}, deadline_s)


def _give_role(
    store: Store,
    manifest: Manifest,
    pools: ServingPools,
    edit: RoleChange,
    by: str,
    report: Report,
    detail: Mapping[str, Any],
    deadline_s: float,
) -> Promotion:
    model, version = manifest.model, manifest.version
    pool = choose_pool(store, manifest, pools)
    try:
        serving, limit = pools.find(pool), pools.memory.get(pool)
        if read_rollout(store, model).loaded:
            move_locked(store, model, pools, pool, by, report, {**detail, "for": version}, deadline_s)
        servers = find_servers(serving, deadline_s) if serving else ()
        with connect(servers, pools.tls) as clients:
            old_errors = {client: find_error(client, model, version) for client in clients}
            with hold_room(store, pool, limit):
                change_rollout(store, model, lambda now: _preload(store, model, now, version, pool, limit))
            require_whole(store, model, version)
            if not servers:
                reason = "no model server was given, so its answers were not compared"
                change_rollout(store, model, lambda now: edit(now, reason, {**detail}))
                return Promotion(True, reason)
            report(Progress("rollout", message=f"loading version {version} on {len(servers)} model server(s)"))
            worst = max(check_answers(client, store, manifest, deadline_s, old_errors[client]) for client in clients)
        where = "" if pools.is_single else f" of pool {pool}"
        reason = f"available on {len(servers)} model server(s){where}, golden answers within {golden.TOLERANCE:.0e}"
        change_rollout(store, model, lambda now: edit(now, reason, {**detail, "parity": worst}))
    except Overtaken:  # nothing speaks against the version
        change_rollout(store, model, lambda now: now.unload(version))
        raise
    except (VersionNotServed, ServingFailed, InvalidChange, NoRoom, NotMoved, UnknownPool) as error:
        because = str(error)
        change_rollout(store, model, lambda now: now.reject(version, by=by, reason=because, detail={**detail}))
        if isinstance(error, InvalidChange):
            raise
        return Promotion(False, because)
    return Promotion(True, reason, worst)


def choose_pool(store: Store, manifest: Manifest, pools: ServingPools) -> str:
    """The pool in which a version is to be loaded: the model's, unless its spec now names another one.

    A move by a person stands until the spec names another pool than it did for the stable version.
    """
    now, before = read_rollout(store, manifest.model), ""
    if now.stable is not None:
        with suppress(ModelyardError):  # of a damaged version nothing is known
            before = store.manifest(manifest.model, now.stable).pool
    is_new = manifest.pool not in ("", before) and not pools.is_single
    return manifest.pool if is_new else now.placement.pool


def _preload(store: Store, model: str, now: Rollout, version: int, pool: str, limit: int | None) -> Rollout:
    """Has the version loaded, if there is room; of a model that nothing is loaded of, in this pool."""
    require_room(store, pool, limit, [(model, version)])
    placed = now if now.loaded else now.model_copy(update={"placement": Placement(pool=pool)})
    return placed.preload(version)
