"""The shadow of a rollout."""

from datetime import UTC, datetime

from modelyard.models.registry.manifest import FrozenModel


class Shadow(FrozenModel):
    """A version that gets copies of the stable version's requests; its answers are only compared."""

    version: int
    since: datetime

    def restart(self) -> "Shadow":
        """The same shadow, started now."""
        return self.model_copy(update={"since": datetime.now(UTC)})
