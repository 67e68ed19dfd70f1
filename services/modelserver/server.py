"""One model server: registry, load thread, polling and gRPC."""

import contextvars
import threading
from collections.abc import Callable
from concurrent import futures
from functools import partial
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health_pb2_grpc

from modelyard.models.errors import ModelyardError
from modelyard.models.tfserving.messages import model_service_pb2_grpc, prediction_service_pb2_grpc
from modelyard.services.modelserver.api.health import Health, Status
from modelyard.services.modelserver.api.model_service import ModelService
from modelyard.services.modelserver.api.prediction_service import PredictionService
from modelyard.services.modelserver.batching.parameters import read_parameters
from modelyard.services.modelserver.lifecycle.config import make_single_model
from modelyard.services.modelserver.lifecycle.core import ServerCore
from modelyard.services.modelserver.lifecycle.loader import start_loader
from modelyard.services.modelserver.lifecycle.reconciler import Load, Reconciler
from modelyard.services.modelserver.lifecycle.registry import Registry
from modelyard.services.modelserver.lifecycle.strict import StartFailed, StrictCore
from modelyard.services.modelserver.lifecycle.watcher import ConfigFile, run_periodically
from modelyard.services.modelserver.settings import Settings

MANAGEMENT_THREADS = 4
INFERENCE_METHODS = {"Predict", "Classify", "Regress", "MultiInference", "Watch"}
"""Methods that run on the threads for predictions; ``Watch`` returns its thread after its first message."""
OPTIONS = [
    ("grpc.so_reuseport", 0),  # two servers on one port would silently share the calls
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
]

log = structlog.get_logger()


class PortTaken(ModelyardError):
    """The address of this server is in use."""


class ModelServer:
    """One server. ``start()`` binds the port before it loads TensorFlow, and answers status calls from then on.

    Where TensorFlow Serving's port is closed, until the configured models are loaded, this one says UNAVAILABLE.
    """

    def __init__(
        self,
        settings: Settings,
        on_failure: Callable[[], None],
        start_loader: Callable[[Settings], Load] = start_loader,
    ) -> None:
        self._settings = settings
        self._on_failure = on_failure
        self._start_loader = start_loader
        self._stopping = threading.Event()
        self._registry = registry = Registry()
        self._reconciler = Reconciler(
            registry, settings.max_num_load_retries, settings.load_retry_interval_micros / 1_000_000
        )
        early_labels = settings.allow_version_labels_for_unavailable_models
        self._strict = (
            StrictCore(registry, self._reconciler, self._stopping, early_labels=early_labels)
            if settings.strict
            else None
        )
        self._core = self._strict or ServerCore(
            registry, self._reconciler, early_labels=early_labels, quiet_s=settings.file_system_poll_wait_seconds
        )
        self._config = ConfigFile(settings.model_config_file, self._core.apply) if settings.model_config_file else None
        self._health = Health()
        self._grpc = self._build_grpc_server(registry)

    def _build_grpc_server(self, registry: Registry) -> Any:
        """The gRPC server with all services on it."""
        settings = self._settings
        threads = futures.ThreadPoolExecutor(settings.grpc_max_threads, "predict")
        server = grpc.server(threads, options=[*OPTIONS, *settings.channel_options])
        manage = partial(ManagementThreads, threads=futures.ThreadPoolExecutor(MANAGEMENT_THREADS, "manage"))
        prediction = manage(PredictionService(registry, settings.request_options))
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(prediction, server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(manage(ModelService(registry, self._core)), server)
        if settings.enable_grpc_healthcheck_service:
            health_pb2_grpc.add_HealthServicer_to_server(manage(self._health), server)
        return server

    def start(self, is_wanted: Callable[[], bool] = lambda: True) -> int:
        """Listens, and starts to load; returns the port.

        A strict server loads first, and then listens; 0 if ``is_wanted`` said no before.

        Raises:
            PortTaken: the address is in use or is not this machine's.
            StartFailed: a strict server did not start, for whatever reason.
            ModelyardError: the configuration cannot be read or parsed.
        """
        if self._strict is not None:
            return self._start_strictly(self._strict, is_wanted)
        port = self._bind()
        self._configure()
        self._serve(port)
        _start_thread("load", self._load)
        self._poll(self._core.rescan, self._settings.file_system_poll_wait_seconds)
        return port

    def _start_strictly(self, core: StrictCore, is_wanted: Callable[[], bool]) -> int:
        try:
            self._configure()
            _start_thread("load", self._load)
            self._poll(core.rescan, self._settings.file_system_poll_wait_seconds)
            if not core.wait_until_started(is_wanted):
                return 0
            port = self._bind()
        except ModelyardError as error:
            self._stopping.set()
            self._reconciler.stop()
            raise StartFailed(f"Failed to start server. Error: {error}") from error
        self._serve(port)
        return port

    def _serve(self, port: int) -> None:
        self._grpc.start()
        log.info("listening", address=self._settings.bind_address, port=port)
        _start_thread("ready", self._become_ready)
        if self._config is not None:
            self._poll(self._config.poll, self._settings.model_config_file_poll_wait_seconds)

    def stop(self, grace_s: float) -> threading.Event:
        """Reports NOT_SERVING and accepts no new call. Sets the event when calls in flight have ended or time is up."""
        self._health.shut_down()
        self._stopping.set()
        self._reconciler.stop()
        stopped: threading.Event = self._grpc.stop(grace_s)
        return stopped

    def _bind(self) -> int:
        port = self._listen(self._settings.address, "--port")
        if self._settings.grpc_socket_path is not None:
            self._listen(f"unix:{self._settings.grpc_socket_path}", "--grpc_socket_path")
        return port

    def _listen(self, address: str, flag: str) -> int:
        try:
            return int(self._grpc.add_insecure_port(address))
        except RuntimeError as error:
            raise PortTaken(
                f"cannot listen on {address}: it is in use, or not an address of this machine; "
                f"stop what listens there, or choose another {flag}"
            ) from error

    def _configure(self) -> None:
        """Applies the configuration that the flags name, and checks the batching parameters, which the loader reads."""
        if self._settings.batching_parameters_file is not None:
            read_parameters(self._settings.batching_parameters_file)
        if self._config is not None:
            self._config.apply_changes()
        else:
            self._core.apply(make_single_model(self._settings.model_name, str(self._settings.model_base_path)))

    def _load(self) -> None:
        try:
            self._reconciler.run(self._start_loader(self._settings))
        except Exception:  # the outermost boundary of the load thread: a server that cannot load has to end
            log.exception("load_thread_failed")
            self._on_failure()

    def _become_ready(self) -> None:
        if self._core.wait_until_settled(is_wanted=lambda: not self._stopping.is_set()):
            self._registry.finish_start()
            self._health.set_status(Status.SERVING)
            log.info("ready")

    def _poll(self, act: Callable[[], None], interval_s: float) -> None:
        _start_thread("poll", partial(run_periodically, act, interval_s, self._stopping))


def _start_thread(name: str, work: Callable[[], None]) -> None:
    """Starts a thread that inherits what is bound to log records."""
    threading.Thread(target=contextvars.copy_context().run, args=(work,), name=name, daemon=True).start()


class ManagementThreads:
    """A servicer whose methods, except predictions, run on a few threads of their own.

    Status and health then answer while every prediction thread is busy. grpc's own health service uses
    ``experimental_thread_pool`` for the same purpose.
    """

    def __init__(self, servicer: object, threads: futures.ThreadPoolExecutor) -> None:
        self._servicer = servicer
        self._threads = threads

    def __getattr__(self, method: str) -> Any:
        behaviour = getattr(self._servicer, method)
        if method in INFERENCE_METHODS:
            return behaviour
        managed: Any = partial(behaviour)
        managed.experimental_thread_pool = self._threads
        return managed
