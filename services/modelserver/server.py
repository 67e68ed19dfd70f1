"""One model server: an engine, and gRPC before it."""

import threading
from collections.abc import Callable

from modelyard.models.errors import ModelyardError
from modelyard.services.modelserver.doors import Doors
from modelyard.services.modelserver.engine import Engine
from modelyard.services.modelserver.lifecycle.loader import start_loader
from modelyard.services.modelserver.lifecycle.reconciler import Load
from modelyard.services.modelserver.lifecycle.strict import StartFailed, StrictCore
from modelyard.services.modelserver.settings import Settings
from modelyard.services.tracing.spans import Tracing


class ModelServer:
    """One server. ``start()`` binds the port before it loads TensorFlow, and answers status calls from then on.

    Where TensorFlow Serving's port is closed, until the configured models are loaded, this one says UNAVAILABLE.
    """

    def __init__(
        self,
        settings: Settings,
        on_failure: Callable[[], None],
        start_loader: Callable[[Settings], Load] = start_loader,
        tracing: Tracing | None = None,
    ) -> None:
        """Raises ``InvalidConfig`` if a file that flags name is of no use."""
        metrics_path = settings.find_metrics_path()
        self._engine = Engine(settings, on_failure, start_loader, measured=metrics_path is not None)
        self._doors = Doors(settings, self._engine, tracing, metrics_path)

    def start(self, is_wanted: Callable[[], bool] = lambda: True) -> int:
        """Listens, and starts to load; returns the port.

        A strict server loads first, and then listens; 0 if ``is_wanted`` said no before.

        Raises:
            PortTaken: the address is in use or is not this machine's.
            StartFailed: a strict server did not start, for whatever reason.
            ModelyardError: the configuration cannot be read or parsed.
        """
        if self._engine.strict is not None:
            return self._start_strictly(self._engine.strict, is_wanted)
        port = self._doors.bind()
        self._engine.configure()
        self._serve(port)
        self._engine.start_loading()
        return port

    def _start_strictly(self, core: StrictCore, is_wanted: Callable[[], bool]) -> int:
        try:
            self._engine.configure()
            self._engine.start_loading()
            if not core.wait_until_started(is_wanted):
                return 0
            port = self._doors.bind()
        except ModelyardError as error:
            self._engine.stop()
            raise StartFailed(f"Failed to start server. Error: {error}") from error
        self._serve(port)
        return port

    def _serve(self, port: int) -> None:
        self._doors.open(port)
        self._engine.start_watching(self._doors.report_serving)

    def stop(self, grace_s: float) -> threading.Event:
        """Reports NOT_SERVING and accepts no new call. Sets the event when calls in flight have ended or time is up."""
        self._engine.stop()
        return self._doors.stop(grace_s)
