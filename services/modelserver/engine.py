"""What a model server does without a network: which versions are loaded, by threads of its own."""

import contextvars
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import structlog

from modelyard.services.modelserver.batching.parameters import read_parameters
from modelyard.services.modelserver.lifecycle.config import make_single_model
from modelyard.services.modelserver.lifecycle.core import ServerCore
from modelyard.services.modelserver.lifecycle.loader import start_loader
from modelyard.services.modelserver.lifecycle.reconciler import Load, Reconciler
from modelyard.services.modelserver.lifecycle.registry import Registry
from modelyard.services.modelserver.lifecycle.strict import StrictCore
from modelyard.services.modelserver.lifecycle.watcher import ConfigFile, run_periodically
from modelyard.services.modelserver.metrics.counts import ServingMetrics
from modelyard.services.modelserver.runtime.measured_run import measure_runs
from modelyard.services.modelserver.runtime.servable import Servable
from modelyard.services.modelserver.settings import Settings

log = structlog.get_logger()


class Engine:
    """Registry, load thread and polling. Whoever answers calls reads ``registry``."""

    def __init__(
        self,
        settings: Settings,
        on_failure: Callable[[], None],
        start_loader: Callable[[Settings], Load] = start_loader,
        *,
        measured: bool = False,
    ) -> None:
        """A server that loads nothing yet.

        Args:
            on_failure: called once if nothing can be loaded any more.
            measured: whether calls are counted in ``metrics``.
        """
        self._settings = settings
        self._on_failure = on_failure
        self._start_loader = start_loader
        self._stopping = threading.Event()
        self.registry = registry = Registry()
        self.metrics = ServingMetrics(lambda model: model in registry.states)
        self.is_measured = measured
        self._reconciler = Reconciler(
            registry, settings.max_num_load_retries, settings.load_retry_interval_micros / 1_000_000
        )
        early_labels = settings.allow_version_labels_for_unavailable_models
        self.strict = (
            StrictCore(registry, self._reconciler, self._stopping, early_labels=early_labels)
            if settings.strict
            else None
        )
        self.core = self.strict or ServerCore(
            registry, self._reconciler, early_labels=early_labels, quiet_s=settings.file_system_poll_wait_seconds
        )
        self._config = ConfigFile(settings.model_config_file, self.core.apply) if settings.model_config_file else None

    def configure(self) -> None:
        """Applies the configuration that the flags name, and checks the batching parameters, which the loader reads.

        Raises:
            ModelyardError: it cannot be read or parsed.
        """
        if self._settings.batching_parameters_file is not None:
            read_parameters(self._settings.batching_parameters_file)
        if self._config is not None:
            self._config.apply_changes()
        else:
            self.core.apply(make_single_model(self._settings.model_name, str(self._settings.model_base_path)))

    def start_loading(self) -> None:
        """Loads what is configured, and looks for new versions."""
        start_thread("load", self._load)
        self._poll(self.core.rescan, self._settings.file_system_poll_wait_seconds)

    def start_watching(self, on_ready: Callable[[], None]) -> None:
        """Looks for a new configuration; calls ``on_ready`` once every configured version is loaded or has failed."""
        start_thread("ready", partial(self._become_ready, on_ready))
        if self._config is not None:
            self._poll(self._config.poll, self._settings.model_config_file_poll_wait_seconds)

    def stop(self) -> None:
        """Loads nothing more. Loaded versions go on answering."""
        self._stopping.set()
        self._reconciler.stop()

    def _load(self) -> None:
        try:
            load = self._start_loader(self._settings)
            self._reconciler.run(partial(load_measured, load) if self.is_measured else load)
        except Exception:  # the outermost boundary of the load thread: a server that cannot load has to end
            log.exception("load_thread_failed")
            self._on_failure()

    def _become_ready(self, on_ready: Callable[[], None]) -> None:
        if self.core.wait_until_settled(is_wanted=lambda: not self._stopping.is_set()):
            self.registry.finish_start()
            on_ready()
            log.info("ready")

    def _poll(self, act: Callable[[], None], interval_s: float) -> None:
        start_thread("poll", partial(run_periodically, act, interval_s, self._stopping))


def load_measured(load: Load, folder: Path) -> Servable:
    return measure_runs(load(folder))


def start_thread(name: str, work: Callable[[], None]) -> None:
    """Starts a thread that inherits what is bound to log records."""
    threading.Thread(target=contextvars.copy_context().run, args=(work,), name=name, daemon=True).start()
