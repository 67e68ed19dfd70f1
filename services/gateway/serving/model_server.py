"""The gateway's calls to the model servers, in their own messages. Runs on the event loop's thread: no locks."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import grpc

from modelyard.models.tfserving.messages import (
    ServingFailed,
    VersionStatus,
    get_model_metadata_pb2,
    get_model_status_pb2,
    make_status_request,
    predict_pb2,
    read_outputs,
    read_statuses,
)
from modelyard.models.tfserving.predict_encoding import encode_predict_request
from modelyard.models.types import Array
from modelyard.services.gateway.http.deadline import Deadline
from modelyard.services.gateway.http.errors import InvalidOutput
from modelyard.services.gateway.serving import replicas as servers
from modelyard.services.gateway.serving.batching import Outputs, Target
from modelyard.services.gateway.serving.circuit_breaker import TROUBLE, Breaker
from modelyard.services.gateway.serving.failures import public_text
from modelyard.services.gateway.serving.replicas import Servers


class Calls:
    """Each raises ``ServingFailed`` with the server's code, and a text fit for the public."""

    def __init__(self, servers: Servers, status_timeout_s: float, wanted: Callable[[Target], bool]) -> None:
        """``wanted`` says whether the model servers should have something: if they do not, they have just started."""
        self._servers = servers
        self._status_timeout_s = status_timeout_s
        self._wanted = wanted
        self._breakers: defaultdict[str, Breaker] = defaultdict(Breaker)

    async def predict(self, target: Target, inputs: Mapping[str, Array], deadline: Deadline) -> Outputs:
        """Runs one signature of one version.

        Raises:
            InvalidOutput: the answer cannot be read.
        """
        request = encode_predict_request(target.model, target.version, target.signature, inputs)
        answer = predict_pb2.PredictResponse.FromString(await self._infer(servers.PREDICT, target, request, deadline))
        try:
            return Outputs(read_outputs(answer), target.version or answer.model_spec.version.value)
        except ValueError as error:  # a tensor whose content does not fill its shape
            raise InvalidOutput("the model server's answer cannot be read") from error

    async def examples(self, method: str, target: Target, request: Any, deadline: Deadline) -> bytes:
        """Classify or Regress; the target is filled into the request."""
        request.model_spec.name = target.model
        if target.version is not None:
            request.model_spec.version.value = target.version
        return await self._infer(method, target, request.SerializeToString(), deadline)

    async def status(self, model: str, version: int | None) -> tuple[VersionStatus, ...]:
        """State of every version the server knows, or of one."""
        request = make_status_request(model, version).SerializeToString()
        reply = await self._call(servers.STATUS, request, Deadline.after(self._status_timeout_s))
        return read_statuses(get_model_status_pb2.GetModelStatusResponse.FromString(reply))

    async def metadata(
        self, model: str, version: int | None, label: str | None
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """The signatures of a version, by number or label; without either of the newest one."""
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = model
        if version is not None:
            request.model_spec.version.value = version
        elif label is not None:
            request.model_spec.version_label = label
        until = Deadline.after(self._status_timeout_s)
        reply = await self._call(servers.METADATA, request.SerializeToString(), until)
        return get_model_metadata_pb2.GetModelMetadataResponse.FromString(reply)

    def answers(self, model: str) -> bool:
        """Whether the model's circuit is closed."""
        return model not in self._breakers or self._breakers[model].closed

    async def close(self) -> None:
        """Hangs up."""
        await self._servers.close()

    async def _infer(self, method: str, target: Target, request: bytes, deadline: Deadline) -> bytes:
        """A call that runs the model; the breaker watches it."""
        breaker = self._breakers[target.model]
        if not breaker.allows():
            raise ServingFailed(grpc.StatusCode.UNAVAILABLE, f"{target.model} does not answer at present")
        try:
            reply = await self._call(method, request, deadline)
        except ServingFailed as failure:
            breaker.record(answered=failure.code not in TROUBLE)
            self._require_loaded(target, failure)
            raise
        breaker.record(answered=True)
        return reply

    def _require_loaded(self, target: Target, failure: ServingFailed) -> None:
        """A server that does not know what it is told to serve has just started: not 404, but later."""
        if failure.code is grpc.StatusCode.NOT_FOUND and self._wanted(target):
            what = target.model if target.version is None else f"version {target.version} of {target.model}"
            text = f"{what} is being loaded; try again in a moment"
            raise ServingFailed(grpc.StatusCode.UNAVAILABLE, text) from failure

    async def _call(self, method: str, request: bytes, deadline: Deadline) -> bytes:
        try:
            return await self._servers.call(method, request, deadline)
        except ServingFailed as failure:
            raise ServingFailed(failure.code, public_text(failure)) from None
