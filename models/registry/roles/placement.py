"""Where a model runs: the pool of model servers that answers for it, and those that have it while it moves. Slim."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import Field

from modelyard.models.registry.manifest import FrozenModel
from modelyard.models.types import DEFAULT_POOL, POOL_PATTERN

KEEP_S = 60.0
"""How long a pool keeps a model that has moved away: longer than a prediction takes, and than a change takes to be
known to every gateway."""

PoolName = Annotated[str, Field(pattern=f"^{POOL_PATTERN}$")]


class Departure(FrozenModel):
    """A pool that a model has left."""

    pool: PoolName
    since: datetime


class Placement(FrozenModel):
    """The pool whose servers answer. All loaded versions of a model are in one pool; while it moves, in both."""

    pool: PoolName = DEFAULT_POOL
    arriving: PoolName | None = None
    """The pool that loads the model, and will answer once it has."""
    leaving: Departure | None = None
    """The pool that answered before: it keeps the model for a minute."""

    def list_pools(self, now: datetime | None = None) -> tuple[str, ...]:
        """Every pool that loads the model, the one that answers first."""
        found = [self.pool]
        if self.arriving:
            found.append(self.arriving)
        if self.leaving and (now or datetime.now(UTC)) - self.leaving.since < timedelta(seconds=KEEP_S):
            found.append(self.leaving.pool)
        return tuple(dict.fromkeys(found))

    def begin(self, pool: str) -> "Placement":
        """Has the pool load the model."""
        return self.model_copy(update={"arriving": pool})

    def switch(self) -> "Placement":
        """Has the pool that has loaded the model answer; the one before keeps it for a while."""
        assert self.arriving
        return Placement(pool=self.arriving, leaving=Departure(pool=self.pool, since=datetime.now(UTC)))

    def give_up(self) -> "Placement":
        """The pool that loads the model need not."""
        return self.model_copy(update={"arriving": None})
