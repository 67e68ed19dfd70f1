"""The pools of model servers, and which one is asked about a model."""

from collections.abc import Callable, Collection, Mapping

import grpc

from modelyard.models.tfserving.messages import ServingFailed
from modelyard.models.types import DEFAULT_POOL
from modelyard.services.gateway.serving.servers.replicas import Replicas


class Pools:
    """The replicas of each pool, by its name; the default pool is always there."""

    def __init__(self, replicas: Mapping[str, Replicas]) -> None:
        self._replicas = replicas

    @property
    def names(self) -> Collection[str]:
        return self._replicas.keys()

    @property
    def is_single(self) -> bool:
        """Whether there is the default pool alone: then it has every model, whatever pool a rollout names."""
        return len(self._replicas) == 1

    def get(self, pool: str) -> Replicas:
        """The replicas of a pool.

        Raises:
            ServingFailed: UNAVAILABLE, of a pool that this gateway was not told of.
        """
        found = self._replicas.get(DEFAULT_POOL if self.is_single else pool)
        if found is None:
            text = f"this gateway was told of no pool {pool} of model servers (MODELYARD_SERVING_POOLS)"
            raise ServingFailed(grpc.StatusCode.UNAVAILABLE, text)
        return found

    async def close(self) -> None:
        for replicas in self._replicas.values():
            await replicas.close()


FindPool = Callable[[str], str]
"""The pool that answers for a model."""
