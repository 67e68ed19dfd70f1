"""Keeps the model servers' configuration in step with the rollouts, and says what is left out of it."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from modelyard.models.registry.serving_config import LeftOutVersion
from modelyard.models.registry.serving_set import check_config, refresh_config
from modelyard.models.registry.store import Store
from modelyard.models.tfserving.addresses import can_connect

RECHECK_S = 60.0
"""Between two checks of all files while no model server can be reached."""

log = structlog.get_logger()


@dataclass
class ServingConfig:
    """Renders ``models.config`` again and again. Any number of schedulers may run at once."""

    store: Store
    serving: Sequence[str] = ()
    """Addresses of the default pool's model servers."""
    named: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Of other pools' model servers."""
    _was_away: bool = False
    _checked_at: float = float("-inf")
    _left_out: frozenset[LeftOutVersion] = field(default_factory=frozenset)
    """What was left out at the last time: each change is logged once."""

    def refresh(self) -> None:
        """Lets versions in that are whole again, and labels that have waited; writes nothing if nothing changes.

        While no model server of a pool can be reached, all files are checked: TensorFlow Serving may not start for the
        damage of one, and be started again and again.

        Raises:
            StorageFailed: the store cannot be written.
        """
        if self._is_check_due():
            self._checked_at = time.monotonic()
            found = check_config(self.store, self.named)
        else:
            found = refresh_config(self.store)
        self._log_changes(frozenset(found.versions))

    def _is_check_due(self) -> bool:
        """At the second time in a row that a pool is away: one that is only being restarted is back by then."""
        pools = [pool for pool in (self.serving, *self.named.values()) if pool]
        was_away, self._was_away = self._was_away, any(not any(map(can_connect, pool)) for pool in pools)
        return was_away and self._was_away and time.monotonic() - self._checked_at >= RECHECK_S

    def _log_changes(self, found: frozenset[LeftOutVersion]) -> None:
        for each in found - self._left_out:
            log.error("version left out", model=each.model, version=each.version, cause=each.reason)
        for each in self._left_out - found:
            log.info("version no longer left out", model=each.model, version=each.version)
        self._left_out = found
