"""A model server in a process of its own, over gRPC. Runs on the event loop's thread: no locks."""

import time
from collections.abc import Callable
from typing import Any

import grpc

from modelyard.models.tfserving.messages import (
    CHANNEL_OPTIONS,
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

    def __init__(self, address: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.address = address
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
            raise ServingFailed(code, error.details() or code.name) from None
        finally:
            self.in_flight -= 1
        self.avoid_until = 0.0
        return response

    def _open(self) -> grpc.aio.Channel:
        if self._channel is None:
            self._channel = grpc.aio.insecure_channel(self.address, options=CHANNEL_OPTIONS)
        return self._channel

    def _method(self, name: str) -> grpc.aio.UnaryUnaryMultiCallable:
        if name not in self._methods:
            self._methods[name] = self._open().unary_unary(name)
        return self._methods[name]
