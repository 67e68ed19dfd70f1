"""The present configuration, from the file or from a reload call. Named after TF Serving's ServerCore."""

import threading
from collections.abc import Callable, Mapping

import grpc
import structlog

from modelyard.services.modelserver.errors import Refused
from modelyard.services.modelserver.lifecycle.config import ModelEntry, ModelSet
from modelyard.services.modelserver.lifecycle.reconciler import Reconciler
from modelyard.services.modelserver.lifecycle.registry import Registry, State
from modelyard.services.modelserver.lifecycle.source import Candidates, find_candidates

log = structlog.get_logger()


class ServerCore:
    """Holds the configured models, and has the reconciler load them."""

    checks_first_labels = False
    """Whether a model that does not serve yet may name only versions that are available."""

    def __init__(
        self, registry: Registry, reconciler: Reconciler, *, early_labels: bool = False, quiet_s: float = 0.0
    ) -> None:
        """Holds no models yet.

        Args:
            early_labels: a label that is new, or stays where it is, may name a version that is not AVAILABLE.
            quiet_s: seconds for which a new folder must not change before it is loaded: the interval of ``rescan``.
        """
        self._registry = registry
        self._early_labels = early_labels
        self._reconciler = reconciler
        self._applying = threading.Lock()
        self._models: ModelSet = {}
        self._quiet_s = quiet_s
        self._candidates: Mapping[str, Candidates] = {}

    def apply(self, models: ModelSet) -> None:
        """Replaces the configured models: models left out are unloaded, new versions start to load.

        Raises:
            Refused: FAILED_PRECONDITION, a label would move to a version that is not AVAILABLE; nothing was changed.
        """
        with self._applying:
            for entry in models.values():
                self._check_labels(entry)
            self._models = models
            self._registry.set_labels({name: entry.labels for name, entry in models.items()})
            self._set_aspired(retry_failed=True)
        log.info("config_applied", models=sorted(models))

    def rescan(self) -> None:
        """Scans the version folders again."""
        with self._applying:
            self._set_aspired(retry_failed=False)

    def wait_until_settled(self, is_wanted: Callable[[], bool], names: frozenset[str] | None = None) -> bool:
        """Waits until the wanted versions of these models (all, if None) were tried; False if it stopped before."""
        return self._reconciler.wait_until_settled(frozenset(self._models) if names is None else names, is_wanted)

    def reload(self, models: ModelSet, is_wanted: Callable[[], bool]) -> None:
        """``apply()``, then waits for the models that are new, as TensorFlow Serving does, and for no others.

        Raises:
            Refused: as ``apply()``; UNKNOWN, new models did not become available; DEADLINE_EXCEEDED, the call ended.
        """
        new = frozenset(name for name in models if not self._registry.available_versions(name))
        self.apply(models)
        if not self.wait_until_settled(is_wanted, new):
            raise Refused(grpc.StatusCode.DEADLINE_EXCEEDED, "applied, but new models are still loading")
        failed = sorted(name for name in new if not self._registry.available_versions(name))
        if failed:
            message = f"{len(failed)} servable(s) did not become available: {{{', '.join(map(self._cause, failed))}}}"
            raise Refused(grpc.StatusCode.UNKNOWN, message)

    def _set_aspired(self, *, retry_failed: bool) -> None:
        last = self._candidates
        self._candidates = {
            name: find_candidates(entry, last.get(name, {}), self._quiet_s) for name, entry in self._models.items()
        }
        self._reconciler.set_aspired(self._candidates, retry_failed=retry_failed)

    def _check_labels(self, entry: ModelEntry) -> None:
        """A model that does not serve yet may name versions that are about to load."""
        available = self._registry.available_versions(entry.name)
        bound = self._registry.labels(entry.name)
        for label, version in entry.labels.items():
            early = self._early_labels and bound.get(label, version) == version
            if (available or self.checks_first_labels) and version not in available and not early:
                raise Refused(
                    grpc.StatusCode.FAILED_PRECONDITION,
                    f"Request to assign label to version {version} of model {entry.name}, "
                    "which is not currently available for inference",
                )

    def _cause(self, name: str) -> str:
        failed = [
            f"{{name: {name} version: {number}}} due to error: {state.message}"
            for number, state in self._registry.states.get(name, {}).items()
            if state.state == State.END and state.code
        ]
        return "; ".join(failed) or f"{{name: {name}}} has no version to load"
