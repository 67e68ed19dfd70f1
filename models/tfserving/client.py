"""A blocking gRPC client of one model server, for commands and pipeline steps; the gateway has its own."""

from collections.abc import Mapping
from typing import Any

import grpc

from modelyard.models.tfserving.addresses import Server
from modelyard.models.tfserving.channel import make_credentials, make_options
from modelyard.models.tfserving.messages import (
    ServingFailed,
    VersionStatus,
    make_predict_request,
    make_status_request,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
    read_outputs,
    read_statuses,
)
from modelyard.models.tfserving.tls_files import TlsFiles
from modelyard.models.types import Array


class ServingClient:
    """One model server. The channel connects at the first call and reconnects by itself, at most 1 s apart."""

    def __init__(self, server: str | Server, tls: TlsFiles | None = None) -> None:
        """``tls``: files of the connection; None: it is plain.

        Raises:
            ServingFailed: one of them cannot be read.
        """
        self.address, name = (server, None) if isinstance(server, str) else server
        credentials, options = make_credentials(self.address, tls), make_options(name)
        if credentials:
            self.channel = grpc.secure_channel(self.address, credentials, options=options)
        else:
            self.channel = grpc.insecure_channel(self.address, options=options)
        self._predict = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self._models = model_service_pb2_grpc.ModelServiceStub(self.channel)

    def predict(
        self, model: str, version: int, signature: str, inputs: Mapping[str, Array], timeout_s: float
    ) -> dict[str, Array]:
        """Runs one signature of one version.

        Args:
            inputs: one array per named input; strings as object arrays of ``bytes``.
            timeout_s: deadline that travels with the call.

        Raises:
            ServingFailed: with the server's code and message.
        """
        request = make_predict_request(model, version, signature, inputs)
        return read_outputs(self._call(self._predict.Predict, request, timeout_s))

    def status(self, model: str, timeout_s: float, version: int | None = None) -> tuple[VersionStatus, ...]:
        """State of every version that the server knows, or of one.

        Raises:
            ServingFailed: NOT_FOUND for an unknown model or version.
        """
        return read_statuses(self._call(self._models.GetModelStatus, make_status_request(model, version), timeout_s))

    def close(self) -> None:
        self.channel.close()

    @staticmethod
    def _call(method: Any, request: Any, timeout_s: float) -> Any:
        try:
            return method(request, timeout=timeout_s)
        except grpc.RpcError as error:
            raise ServingFailed(error.code(), error.details() or error.code().name) from error
