"""The gRPC server of a model server: its ports and sockets, and the threads that answer there."""

import threading
from concurrent import futures
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
import structlog
from grpc_health.v1 import health_pb2_grpc

from modelyard.models.errors import ModelyardError
from modelyard.models.tfserving.messages import model_service_pb2_grpc, prediction_service_pb2_grpc
from modelyard.services.modelserver.api.health import Health, Status
from modelyard.services.modelserver.api.measured_calls import MeasuredCalls
from modelyard.services.modelserver.api.model_service import ModelService
from modelyard.services.modelserver.api.prediction_service import PredictionService
from modelyard.services.modelserver.api.traced_calls import TracedCalls
from modelyard.services.modelserver.engine import Engine
from modelyard.services.modelserver.metrics.counts import ServingMetrics
from modelyard.services.modelserver.settings import Settings
from modelyard.services.modelserver.tls import make_server_credentials
from modelyard.services.modelserver.warm_threads import WarmThreads
from modelyard.services.tracing.spans import Tracing

if TYPE_CHECKING:
    from modelyard.services.modelserver.metrics.port import MetricsPort

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


class Doors:
    """One gRPC server with all services on it."""

    def __init__(
        self, settings: Settings, engine: Engine, tracing: Tracing | None = None, metrics_path: str | None = None
    ) -> None:
        """Of an engine.

        Args:
            metrics_path: where its metrics are shown, on a port of their own.

        Raises:
            InvalidConfig: a file of its certificates is of no use.
        """
        self._metrics, self._metrics_path = engine.metrics, metrics_path
        self._metrics_port: MetricsPort | None = None
        self._settings = settings
        self._credentials = make_server_credentials(settings)
        self._probes: Any = None
        self._health = Health()
        threads = WarmThreads(settings.grpc_max_threads, "predict")
        self._grpc: Any = grpc.server(threads, options=[*OPTIONS, *settings.channel_options])
        manage = partial(ManagementThreads, threads=futures.ThreadPoolExecutor(MANAGEMENT_THREADS, "manage"))
        prediction: object = PredictionService(engine.registry, settings.request_options)
        prediction = TracedCalls(prediction, tracing) if tracing else prediction
        prediction = MeasuredCalls(prediction, engine.metrics) if engine.is_measured else prediction
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(manage(prediction), self._grpc)
        models = manage(ModelService(engine.registry, engine.core))
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(models, self._grpc)
        if settings.enable_grpc_healthcheck_service:
            health_pb2_grpc.add_HealthServicer_to_server(manage(self._health), self._grpc)

    def bind(self, *, tcp: bool = True) -> int:
        """Takes the addresses of the settings; returns the port, 0 without ``tcp``.

        Raises:
            PortTaken: an address is in use or is not this machine's.
            MetricsPortTaken: likewise, of the metrics.
        """
        port = listen(self._grpc, self._settings.address, "--port", self._credentials) if tcp else 0
        if self._settings.grpc_socket_path is not None:
            listen(self._grpc, f"unix:{self._settings.grpc_socket_path}", "--grpc_socket_path")
        if self._settings.health_port:
            self._bind_probes()
        if self._metrics_path is not None:
            self._metrics_port = take_metrics_port(self._settings, self._metrics, self._metrics_path)
        return port

    def open(self, port: int) -> None:
        """Answers from now on."""
        self._grpc.start()
        if self._probes is not None:
            self._probes.start()
        if self._metrics_port is not None:
            self._metrics_port.open()
        log.info("listening", address=self._settings.bind_address, port=port, tls=self._credentials is not None)

    def report_serving(self) -> None:
        """Health is SERVING from now on."""
        self._health.set_status(Status.SERVING)

    def stop(self, grace_s: float) -> threading.Event:
        """Reports NOT_SERVING and accepts no new call. Sets the event when calls in flight have ended or time is up."""
        self._health.shut_down()
        if self._probes is not None:
            self._probes.stop(grace_s)
        stopped: threading.Event = self._grpc.stop(grace_s)
        if self._metrics_port is not None:
            self._metrics_port.close(stopped)
        return stopped

    def _bind_probes(self) -> None:
        """A server of its own for those who ask for health alone."""
        self._probes = grpc.server(futures.ThreadPoolExecutor(1, "probe"), options=OPTIONS)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._probes)
        listen(self._probes, replace_port(self._settings.address, self._settings.health_port), "--health_port")


def take_metrics_port(settings: Settings, metrics: ServingMetrics, path: str) -> "MetricsPort":
    """Raises ``MetricsPortTaken``."""
    from modelyard.services.modelserver.metrics.page import Page  # which loads prometheus_client
    from modelyard.services.modelserver.metrics.port import MetricsPort

    port = MetricsPort(settings.bind_address, settings.rest_api_port, path, Page(metrics, with_process=True))
    log.info("metrics", port=settings.rest_api_port, path=path)
    return port


def replace_port(address: str, port: int) -> str:
    return f"{address.rpartition(':')[0]}:{port}"


def listen(server: Any, address: str, flag: str, credentials: grpc.ServerCredentials | None = None) -> int:
    """The port; raises ``PortTaken``."""
    try:
        return int(server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address))
    except RuntimeError as error:
        why = "it is in use, or not an address of this machine"
        if credentials:
            why += ", or certificate and key do not belong together"
        raise PortTaken(
            f"cannot listen on {address}: {why}; stop what listens there, or choose another {flag}"
        ) from error


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
