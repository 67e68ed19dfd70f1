"""Keeps the model servers' configuration in step with the rollouts, and says what is left out of it."""

from dataclasses import dataclass, field

import structlog

from modelyard.models.registry.serving_config import LeftOutVersion
from modelyard.models.registry.serving_set import refresh_config
from modelyard.models.registry.store import Store

log = structlog.get_logger()


@dataclass
class ServingConfig:
    """Renders ``models.config`` again and again. Any number of schedulers may run at once."""

    store: Store
    _left_out: frozenset[LeftOutVersion] = field(default_factory=frozenset)
    """What was left out at the last time: each change is logged once."""

    def refresh(self) -> None:
        """Lets versions in that are whole again, and labels that have waited; writes nothing if nothing changes.

        Raises:
            StorageFailed: the store cannot be written.
        """
        found = frozenset(refresh_config(self.store).versions)
        for each in found - self._left_out:
            log.error("version left out", model=each.model, version=each.version, cause=each.reason)
        for each in self._left_out - found:
            log.info("version no longer left out", model=each.model, version=each.version)
        self._left_out = found
