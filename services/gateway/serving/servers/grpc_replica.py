"""A model server in a process of its own, over gRPC. Runs on the event loop's thread: no locks."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import grpc

from modelyard.models.tfserving.channel import make_credentials, make_options
from modelyard.models.tfserving.messages import (
    TENSORS_AS_CONTENT,
    ServingFailed,
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    predict_pb2,
    read_outputs,
    regression_pb2,
)
from modelyard.models.tfserving.predict_encoding import encode_predict_request
from modelyard.models.tfserving.tls_files import TlsFiles
from modelyard.services.gateway.http.errors import InvalidOutput
from modelyard.services.gateway.serving.batching.calls import Outputs
from modelyard.services.gateway.serving.servers.replicas import (
    AVOID_S,
    CLASSIFY,
    METADATA,
    PREDICT,
    REGRESS,
    STATUS,
    PredictCall,
)
from modelyard.services.tracing.spans import CURRENT_SPAN

CLOSE_S = 30.0
"""For calls in progress on a connection whose certificates were exchanged."""
CALL_METADATA = grpc.aio.Metadata(TENSORS_AS_CONTENT)
"""Of every call that is not traced."""
READ: dict[str, Callable[[bytes], Any]] = {
    CLASSIFY: classification_pb2.ClassificationResponse.FromString,
    REGRESS: regression_pb2.RegressionResponse.FromString,
    METADATA: get_model_metadata_pb2.GetModelMetadataResponse.FromString,
    STATUS: get_model_status_pb2.GetModelStatusResponse.FromString,
}


class GrpcReplica:
    """One address. The connection is opened by the first call."""

    def __init__(
        self,
        address: str,
        clock: Callable[[], float] = time.monotonic,
        name: str | None = None,
        tls: TlsFiles | None = None,
    ) -> None:
        """``name``: that its certificate is for, if not for the address. ``tls``: None where it is plain."""
        self.address = address
        self._name = name
        self._tls = tls
        self._stamp: tuple[int, ...] = ()
        self._closing: set[asyncio.Task[None]] = set()
        self._clock = clock
        self.in_flight = 0
        self.avoid_until = 0.0
        self._channel: grpc.aio.Channel | None = None
        self._methods: dict[str, grpc.aio.UnaryUnaryMultiCallable] = {}

    async def call(self, method: str, request: Any, timeout_s: float) -> Any:
        """One call.

        Raises:
            ServingFailed: with the server's code and text.
            InvalidOutput: its response cannot be read.
        """
        if method != PREDICT:
            return READ[method](await self._send(method, request.SerializeToString(), timeout_s))
        call: PredictCall = request
        target = call.target
        encoded = encode_predict_request(target.model, target.version, target.signature, call.inputs)
        response = predict_pb2.PredictResponse.FromString(await self._send(PREDICT, encoded, timeout_s))
        try:
            return Outputs(read_outputs(response), target.version or response.model_spec.version.value)
        except ValueError as error:  # a tensor whose content does not fill its shape
            raise InvalidOutput("the model server's response cannot be read") from error

    def was_reached(self) -> bool:
        """False if the last call did not reach it."""
        return self.avoid_until == 0.0

    def is_connected(self) -> bool:
        """Whether a call would be sent at once; if not, it begins to connect."""
        return self._open().get_state(try_to_connect=True) is grpc.ChannelConnectivity.READY

    async def close(self, grace_s: float | None = None) -> None:
        """Closes the connection, once calls in progress have ended or the time for that is over."""
        if self._channel:
            await self._channel.close(grace_s)
        await asyncio.gather(*self._closing)

    async def _send(self, method: str, request: bytes, timeout_s: float) -> bytes:
        self.in_flight += 1
        span = CURRENT_SPAN.get()
        metadata = CALL_METADATA if span is None else grpc.aio.Metadata(TENSORS_AS_CONTENT, *span.context.headers)
        try:
            response: bytes = await self._method(method)(request, timeout=timeout_s, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            code = error.code()
            if code is grpc.StatusCode.CANCELLED:  # not by us: the server ends, and drops what it has just taken
                code = grpc.StatusCode.UNAVAILABLE
            if code is grpc.StatusCode.UNAVAILABLE:
                self.avoid_until = self._clock() + AVOID_S
                self._reopen_if_changed()
            raise ServingFailed(code, error.details() or code.name) from None
        finally:
            self.in_flight -= 1
        self.avoid_until = 0.0
        return response

    def _open(self) -> grpc.aio.Channel:
        """Raises ``ServingFailed`` if a file of its credentials cannot be read."""
        if self._channel is None:
            self._stamp = self._tls.stamp if self._tls else ()
            credentials, options = make_credentials(self.address, self._tls), make_options(self._name)
            if credentials:
                self._channel = grpc.aio.secure_channel(self.address, credentials, options=options)
            else:
                self._channel = grpc.aio.insecure_channel(self.address, options=options)
        return self._channel

    def _reopen_if_changed(self) -> None:
        """The next call reads certificates that were exchanged: gRPC goes on trying those that it was given."""
        if self._tls is None or self._channel is None or self._tls.stamp in ((), self._stamp):
            return
        closing = asyncio.create_task(self._channel.close(CLOSE_S))  # calls in progress may still end
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        self._channel = None
        self._methods.clear()

    def _method(self, name: str) -> grpc.aio.UnaryUnaryMultiCallable:
        if name not in self._methods:
            self._methods[name] = self._open().unary_unary(name)
        return self._methods[name]
