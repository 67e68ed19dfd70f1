"""The gRPC server of a model server: its ports and sockets, and the threads that answer there."""

import threading
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
from modelyard.services.modelserver.api.traced_calls import TracedCalls
from modelyard.services.modelserver.engine import Engine
from modelyard.services.modelserver.settings import Settings
from modelyard.services.tracing.spans import Tracing

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

    def __init__(self, settings: Settings, engine: Engine, tracing: Tracing | None = None) -> None:
        self._settings = settings
        self._health = Health()
        threads = futures.ThreadPoolExecutor(settings.grpc_max_threads, "predict")
        self._grpc: Any = grpc.server(threads, options=[*OPTIONS, *settings.channel_options])
        manage = partial(ManagementThreads, threads=futures.ThreadPoolExecutor(MANAGEMENT_THREADS, "manage"))
        prediction = PredictionService(engine.registry, settings.request_options)
        served = manage(TracedCalls(prediction, tracing) if tracing else prediction)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(served, self._grpc)
        models = manage(ModelService(engine.registry, engine.core))
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(models, self._grpc)
        if settings.enable_grpc_healthcheck_service:
            health_pb2_grpc.add_HealthServicer_to_server(manage(self._health), self._grpc)

    def bind(self, *, tcp: bool = True) -> int:
        """Takes the addresses of the settings; returns the port, 0 without ``tcp``.

        Raises:
            PortTaken: an address is in use or is not this machine's.
        """
        port = self._listen(self._settings.address, "--port") if tcp else 0
        if self._settings.grpc_socket_path is not None:
            self._listen(f"unix:{self._settings.grpc_socket_path}", "--grpc_socket_path")
        return port

    def open(self, port: int) -> None:
        """Answers from now on."""
        self._grpc.start()
        log.info("listening", address=self._settings.bind_address, port=port)

    def report_serving(self) -> None:
        """Health is SERVING from now on."""
        self._health.set_status(Status.SERVING)

    def stop(self, grace_s: float) -> threading.Event:
        """Reports NOT_SERVING and accepts no new call. Sets the event when calls in flight have ended or time is up."""
        self._health.shut_down()
        stopped: threading.Event = self._grpc.stop(grace_s)
        return stopped

    def _listen(self, address: str, flag: str) -> int:
        try:
            return int(self._grpc.add_insecure_port(address))
        except RuntimeError as error:
            raise PortTaken(
                f"cannot listen on {address}: it is in use, or not an address of this machine; "
                f"stop what listens there, or choose another {flag}"
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
