"""The pools of model servers: what each has loaded, and moving a model from one to another."""

from collections.abc import Sequence

import structlog
from flask import Blueprint
from pydantic import Field

from modelyard.models.registry.pools.capacity import list_loaded
from modelyard.models.registry.pools.size import MB
from modelyard.models.registry.store import Store
from modelyard.models.tfserving.pools import ServingPools
from modelyard.pipeline.stages.move import move
from modelyard.services.gateway.api.rollout_changes import LOAD_DEADLINE_S, NO_REASON, MoveRequest
from modelyard.services.gateway.api.rollouts import RolloutHistory, build_rollout_history, record_request
from modelyard.services.gateway.auth.principal import current_author, current_principal
from modelyard.services.gateway.http.json_body import Body
from modelyard.services.gateway.http.operation import json_view
from modelyard.services.gateway.serving.servers.pools import Pools
from modelyard.services.ledger import Ledger

log = structlog.get_logger()


class PoolVersion(Body):
    """A version that a pool loads."""

    model: str
    version: int
    memory_mb: int = Field(description="What a server takes for it, estimated from its size.")


class Pool(Body):
    """A pool of model servers."""

    name: str
    servers: int = Field(description="Model servers that this gateway knows at present.")
    reachable: int = Field(description="Of these, those that its last call reached.")
    memory_mb: int | None = Field(description="What each of them has for models; null where no setting says.")
    taken_mb: int = Field(description="Of that, what versions take; those that the caller may not see, too.")
    versions: list[PoolVersion]


class PoolList(Body):
    """Every pool, the default one first."""

    pools: list[Pool]


def routes(pools: ServingPools, replicas: Pools, store: Store, ledger: Ledger) -> Blueprint:
    """The views of pools."""
    views = Blueprint("pools", __name__)

    @views.get("/api/pools")
    @json_view()
    def list_pools() -> PoolList:
        """The pools of model servers, and what each has loaded."""
        return PoolList(pools=[describe_pool(name, pools, replicas, store) for name in pools.addresses])

    @views.post("/api/models/<model:model>:move")
    @json_view(errors=(400, 404, 409))
    def move_model(model: str, body: MoveRequest) -> RolloutHistory:
        """Move a model to another pool, once its servers have loaded it and give its golden answers."""
        store.require_versions(model)
        pools.require(body.pool)
        record_request(ledger, "move", model, body)
        by, why = current_author(), body.reason or NO_REASON
        changed = move(
            store, model, pools, body.pool, by=by, report=lambda _: None, why=why, deadline_s=LOAD_DEADLINE_S
        )
        log.warning("model moved", model=model, pool=body.pool, by=by)
        return build_rollout_history(changed)

    return views


def describe_pool(name: str, pools: ServingPools, replicas: Pools, store: Store) -> Pool:
    """A pool; of its versions those that the caller may see."""
    can_see, loaded = current_principal().can_see, list_loaded(store, name)
    servers: Sequence[bool] = replicas.get(name).list_reached()
    limit = pools.memory.get(name)
    return Pool(
        name=name,
        servers=len(servers),
        reachable=sum(servers),
        memory_mb=None if limit is None else limit // MB,
        taken_mb=sum(each.memory for each in loaded),
        versions=[
            PoolVersion(model=each.model, version=each.version, memory_mb=each.memory)
            for each in loaded
            if can_see(each.model)
        ],
    )
