"""Moves a model to another pool of model servers: loaded there first, then it answers from there.

The pool of before keeps the model for a minute, so that no request is lost that was on its way there.
"""

from collections.abc import Mapping
from typing import Any

from modelyard.models.errors import ModelyardError
from modelyard.models.registry.pools.capacity import hold_room, require_room
from modelyard.models.registry.rollout import Rollout, change_rollout, read_rollout
from modelyard.models.registry.serving_config import read_left_out
from modelyard.models.registry.store import Store
from modelyard.models.tfserving.messages import ServingFailed
from modelyard.models.tfserving.pools import ServingPools
from modelyard.pipeline import golden
from modelyard.pipeline.progress import Progress, Report
from modelyard.pipeline.stages.loaded import (
    VersionNotServed,
    check_answers,
    connect,
    find_error,
    find_servers,
)

LOAD_TIMEOUT_S = 180.0


class NotMoved(ModelyardError):
    """The other pool cannot serve the model; it stays where it is. The text says why."""

    status = 409


def move(
    store: Store,
    model: str,
    pools: ServingPools,
    pool: str,
    *,
    by: str,
    report: Report,
    why: str = "",
    deadline_s: float = LOAD_TIMEOUT_S,
) -> Rollout:
    """Has a pool load every loaded version of a model, compares the answers with training's, and has it answer.

    Args:
        pools: the addresses of every pool, and its memory.
        by: who or what requested it, for the history.
        why: their reason, for the history.
        deadline_s: seconds for each model server to load each version.

    Returns:
        The changed rollout; as it was, if the model is in that pool.

    Raises:
        UnknownPool: no setting names the pool.
        NoRoom: the pool has too little memory for the versions.
        NotMoved: a version was not loaded there, or answers differently.
    """
    with store.lock(f"promote-{model}"):  # a promotion would load a version in the pool of before only
        return move_locked(store, model, pools, pool, by, report, {"why": why} if why else {}, deadline_s)


def move_locked(
    store: Store,
    model: str,
    pools: ServingPools,
    pool: str,
    by: str,
    report: Report,
    detail: Mapping[str, Any],
    deadline_s: float,
) -> Rollout:
    """As ``move``, for who holds the lock of the model's promotions."""
    pools.require(pool)
    now = read_rollout(store, model)
    if pool == now.placement.pool:
        return now
    try:
        limit = pools.memory.get(pool)
        with hold_room(store, pool, limit):
            change_rollout(store, model, lambda now: _arrive(store, model, now, pool, limit))
        reason, worst = _check_all(store, model, pools, pool, report, deadline_s)
        found = {**detail} if worst is None else {**detail, "parity": worst}
        return change_rollout(store, model, lambda now: now.move(by=by, reason=reason, detail=found))
    except (VersionNotServed, ServingFailed) as error:
        raise NotMoved(f"{model} stays in pool {now.placement.pool}: {error}") from error
    finally:
        if read_rollout(store, model).placement.arriving:
            change_rollout(store, model, _stay)


def _arrive(store: Store, model: str, now: Rollout, pool: str, limit: int | None) -> Rollout:
    require_room(store, pool, limit, [(model, version) for version in now.loaded])
    return now.model_copy(update={"placement": now.placement.begin(pool)})


def _stay(now: Rollout) -> Rollout:
    return now.model_copy(update={"placement": now.placement.give_up()})


def _check_all(
    store: Store, model: str, pools: ServingPools, pool: str, report: Report, deadline_s: float
) -> tuple[str, float | None]:
    """The reason for the history, and the largest difference of answers; None where none was compared."""
    left_out = {each.version for each in read_left_out(store).versions if each.model == model}
    versions = [version for version in read_rollout(store, model).loaded if version not in left_out]
    addresses = pools.find(pool)
    if not addresses or not versions:
        return f"in pool {pool} nothing had to be compared", None
    servers = find_servers(addresses, deadline_s)
    count = f"{len(versions)} version(s) on {len(servers)} model server(s)"
    report(Progress("rollout", message=f"loading {count} of pool {pool}"))
    with connect(servers, pools.tls) as clients:
        old_errors = {
            (client, version): find_error(client, model, version) for client in clients for version in versions
        }
        worst = max(
            check_answers(client, store, store.manifest(model, version), deadline_s, old_error)
            for (client, version), old_error in old_errors.items()
        )
    return f"{count} of pool {pool}, golden answers within {golden.TOLERANCE:.0e}", worst
