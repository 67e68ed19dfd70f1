"""``grpc.health.v1.Health``: SERVING once every wanted version was tried, NOT_SERVING from the first stop signal on."""

import threading
from collections.abc import Callable
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2

SERVICES = (
    "",
    "tensorflow.serving.PredictionService",
    "tensorflow.serving.ModelService",
    "PredictionService",
    "ModelService",
)
"""Names of services: the whole server, gRPC's full names, and the short names of TensorFlow Serving."""

Status = health_pb2.HealthCheckResponse.ServingStatus


class Health(health.HealthServicer):  # type: ignore[misc]  # grpc ships no types
    """The standard servicer; open watches end with the server."""

    def __init__(self) -> None:
        super().__init__()
        self._watches_lock = threading.Lock()  # the base class has a `_lock` of its own
        self._watches: set[Callable[[Any], None]] = set()
        self.set_status(Status.NOT_SERVING)

    def set_status(self, status: int) -> None:
        for service in SERVICES:
            self.set(service, status)

    def Watch(  # noqa: N802 - the protocol's name
        self,
        request: health_pb2.HealthCheckRequest,
        context: grpc.ServicerContext,
        send_response_callback: Callable[[Any], None],
    ) -> None:
        """Streams the status and its changes; uses no thread in between."""
        with self._watches_lock:
            self._watches.add(send_response_callback)
        context.add_callback(lambda: self._forget(send_response_callback))
        super().Watch(request, context, send_response_callback)

    def shut_down(self) -> None:
        """Reports NOT_SERVING for good, and ends every watch after that: a watch would otherwise hold the drain."""
        self.enter_graceful_shutdown()
        with self._watches_lock:
            watches = tuple(self._watches)
        for send in watches:
            send(None)

    def _forget(self, send: Callable[[Any], None]) -> None:
        with self._watches_lock:
            self._watches.discard(send)
