"""``--strict``: starts and reloads as TensorFlow Serving does, with the faults that ours otherwise spares its users.

Source: tensorflow/serving ``model_servers/server_core.cc``, ``core/servable_state_monitor.cc``,
``sources/storage_path/file_system_storage_path_source.cc``.

- It does not start if, when each model has a version that is available or given up, the highest of these is given up.
- It waits for ever for a model of which no wanted version is on disk: at its start, with its port closed; and in a
  reload, so that no later configuration is applied.
- One base path that is missing stops the search for new versions of every model.
- A model of which no wanted version is on disk any more is unloaded.
- A label of a version that is not available is refused, also before its model serves.
"""

import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial

import grpc
import structlog

from modelyard.models.errors import ModelyardError
from modelyard.services.modelserver.errors import Refused
from modelyard.services.modelserver.lifecycle.config import ModelEntry, ModelSet, VersionPolicy
from modelyard.services.modelserver.lifecycle.core import ServerCore
from modelyard.services.modelserver.lifecycle.plan import Key
from modelyard.services.modelserver.lifecycle.reconciler import Reconciler
from modelyard.services.modelserver.lifecycle.registry import Registry, State, VersionState
from modelyard.services.modelserver.lifecycle.source import list_version_folders

POLL_INTERVAL_S = 0.05

log = structlog.get_logger()


class StartFailed(ModelyardError):
    """A strict server could not start; the text has the cause."""

    exit_code = 255


class StrictCore(ServerCore):
    """A core that fails as theirs does."""

    checks_first_labels = True

    def __init__(
        self, registry: Registry, reconciler: Reconciler, stopping: threading.Event, *, early_labels: bool
    ) -> None:
        super().__init__(registry, reconciler, early_labels=early_labels)
        self._stopping = stopping
        self._reloading = threading.Lock()
        self._is_started = False
        self._missing: tuple[str, ...] = ()

    def apply(self, models: ModelSet) -> None:
        """As ``ServerCore.apply``; after the start it then waits for new models, and holds up every other reload."""
        with self._reloading:
            new = models.keys() - self._models.keys()
            super().apply({name: replace(entry, policy=_on_disk(entry.policy)) for name, entry in models.items()})
            if self._is_started:
                self._require_available(new, is_wanted=lambda: True)

    def wait_until_started(self, is_wanted: Callable[[], bool]) -> bool:
        """Waits until each configured model has loaded or failed; False if ``is_wanted`` or the server ended before.

        Raises:
            Refused: UNKNOWN, with the models that failed.
        """
        self._is_started = self._require_available(self._models.keys(), is_wanted)
        return self._is_started

    def _require_available(self, names: Collection[str], is_wanted: Callable[[], bool]) -> bool:
        while (failed := find_failed(names, self._registry.states, self._reconciler.list_given_up())) is None:
            if self._stopping.is_set() or not is_wanted():
                return False
            time.sleep(POLL_INTERVAL_S)
        if failed:
            causes = ", ".join(map(self._cause, failed))
            raise Refused(grpc.StatusCode.UNKNOWN, f"{len(failed)} servable(s) did not become available: {{{causes}}}")
        return True

    def _set_aspired(self, *, retry_failed: bool) -> None:
        missing = tuple(str(entry.base_path) for entry in self._models.values() if not entry.base_path.is_dir())
        if missing != self._missing:
            log.error("base_path_missing", paths=missing)
        self._missing = missing
        if missing:
            return
        configured = self._models
        self._models = {name: entry for name, entry in configured.items() if _has_version(entry)}
        try:
            super()._set_aspired(retry_failed=retry_failed)
        finally:
            self._models = configured


def find_failed(
    names: Collection[str], states: Mapping[str, Mapping[int, VersionState]], given_up: Collection[Key]
) -> list[str] | None:
    """Models that have failed, once each has a version that is available or given up; None before."""
    reached = {name: _find_reached(name, states.get(name, {}), given_up) for name in names}
    if None in reached.values():
        return None
    return sorted(name for name, version in reached.items() if (name, version) in given_up)


def _find_reached(name: str, versions: Mapping[int, VersionState], given_up: Collection[Key]) -> int | None:
    """The version that a model is judged by: the highest that is available or given up."""
    ended = (
        number for number, found in versions.items() if found.state == State.AVAILABLE or (name, number) in given_up
    )
    return max(ended, default=None)


def _on_disk(policy: VersionPolicy) -> VersionPolicy:
    """The policy without versions that have no folder."""
    return partial(_select_on_disk, policy)


def _select_on_disk(policy: VersionPolicy, on_disk: Collection[int]) -> Collection[int]:
    return [version for version in policy(on_disk) if version in on_disk]


def _has_version(entry: ModelEntry) -> bool:
    return bool(entry.policy(list_version_folders(entry.base_path)))
