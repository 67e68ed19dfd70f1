"""One prediction: find the version, decode, predict, capture, encode. The views and the fast path all run it."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from flask import Response, g
from flask.globals import request_ctx

from modelyard.models.types import Array
from modelyard.services.gateway.access_log import RequestRecord
from modelyard.services.gateway.codecs import request, response
from modelyard.services.gateway.codecs.inputs import ModelCall
from modelyard.services.gateway.codecs.oip import request as oip_request
from modelyard.services.gateway.codecs.oip import response as oip_response
from modelyard.services.gateway.codecs.response import is_quick_to_write, select_outputs
from modelyard.services.gateway.codecs.uncertainty import require_typical
from modelyard.services.gateway.http.body import BodyLimit, HttpRequest, SizeSetting, find_limit, read_body
from modelyard.services.gateway.http.deadline import Deadline, parse_deadline
from modelyard.services.gateway.http.headers import (
    CLASS_HEADER,
    CLIENT_HEADER,
    KEY_HEADER,
    HeaderList,
    Headers,
    media_type,
    read_headers,
)
from modelyard.services.gateway.http.paths import Servable
from modelyard.services.gateway.http.side_process import INLINE_BYTES
from modelyard.services.gateway.limits.rate_limits import RateLimits
from modelyard.services.gateway.serving.batching.calls import Outputs, count_rows
from modelyard.services.gateway.serving.failed_versions import VersionFailed
from modelyard.services.gateway.serving.interface import Interface
from modelyard.services.gateway.serving.predictor import Predictor, make_target
from modelyard.services.gateway.settings import GatewaySettings

Call = TypeVar("Call", bound=ModelCall)
Result = TypeVar("Result")


@dataclass(frozen=True)
class Format(Generic[Call]):
    """How one protocol writes requests and responses."""

    choose_size_setting: Callable[[Headers, str, GatewaySettings], SizeSetting]
    """By headers and media type."""
    decode: Callable[[HttpRequest, Interface, GatewaySettings], Call]
    decode_quickly: Callable[[HttpRequest, Interface, GatewaySettings], Call | None]
    """As ``decode`` for large bodies whose reading does not take long; None for the others."""
    encode: Callable[[Call, Outputs, Interface, str], tuple[HeaderList, bytes]]


def encode_oip(call: oip_request.InferCall, outputs: Outputs, interface: Interface, _: str) -> tuple[HeaderList, bytes]:
    """As ``codecs.oip.response.encode``, which needs no id of the request."""
    return oip_response.encode(call, outputs, interface)


TFS = Format(request.choose_size_setting, request.decode, request.decode_quickly, response.encode)
"""TensorFlow Serving's."""
OIP = Format(oip_request.choose_size_setting, oip_request.decode, oip_request.decode_quickly, encode_oip)
"""The Open Inference Protocol's."""


class Predictions:
    """Runs predictions, for the views and the fast path."""

    def __init__(self, predictor: Predictor, limits: GatewaySettings, rate_limits: RateLimits) -> None:
        self.predictor = predictor
        self._rate_limits = rate_limits
        self.limits = limits
        self.codec_limits = limits.limits_only()

    async def run(
        self, form: Format[Call], servable: Servable, request: HttpRequest, record: RequestRecord
    ) -> tuple[HeaderList, bytes]:
        """Headers and body of the response.

        A request that finds out that its version is damaged is run again, if another version may answer it.

        Raises:
            ModelyardError: as ``find_interface``, the format and ``Predictor.predict`` do.
        """
        try:
            return await self._run(form, servable, request, record)
        except VersionFailed:
            return await self._run(form, servable, request, record)

    async def _run(
        self, form: Format[Call], servable: Servable, request: HttpRequest, record: RequestRecord
    ) -> tuple[HeaderList, bytes]:
        interface, deadline = await self.find_interface(servable, request.headers, record)
        call = await self._decode(form, request, interface, deadline)
        if interface.is_explanation(call.signature):
            self._charge(request.headers, call.inputs)
            return await self._run_explanation(form, call, interface, deadline, record)
        bulk = request.headers.get(CLASS_HEADER) == "bulk"
        outputs = await self.predictor.predict(
            interface, call.signature, call.inputs, deadline.within(call.timeout_s), bulk=bulk
        )
        record.version = outputs.version
        self.predictor.capture.sample(record.request_id, interface, call.inputs, outputs, request.headers)
        if call.explain:
            require_typical(select_outputs(outputs, call.signature, interface), interface)
            found = await self.explain(interface, call.signature, call.inputs, deadline, request.headers)
            call = replace(call, explanation=found)
        return await self._encode(form, call, outputs, interface, record.request_id)

    async def _run_explanation(
        self, form: Format[Call], call: Call, interface: Interface, deadline: Deadline, record: RequestRecord
    ) -> tuple[HeaderList, bytes]:
        """The outputs of a signature that explains: no answer, so that nothing of it is captured or compared."""
        target = make_target(interface, call.signature)
        outputs = await self.predictor.explanations.run(target, call.inputs, deadline.within(call.timeout_s))
        record.version = outputs.version
        return await self._encode(form, call, outputs, interface, record.request_id)

    async def explain(
        self, interface: Interface, signature: str, inputs: Mapping[str, Array], deadline: Deadline, headers: Headers
    ) -> Outputs:
        """What explains the answers of a signature to these inputs; one that has an explanation."""
        self._charge(headers, inputs)
        target = make_target(interface, interface.find_explanation(signature) or signature)
        return await self.predictor.explanations.run(target, inputs, deadline)

    def _charge(self, headers: Headers, inputs: Mapping[str, Array]) -> None:
        if client := headers.get(CLIENT_HEADER):
            self._rate_limits.charge_explanations(client, count_rows(inputs))

    async def _decode(self, form: Format[Call], request: HttpRequest, interface: Interface, deadline: Deadline) -> Call:
        """On the loop if that takes little time, else in the side process."""
        if len(request.body) <= INLINE_BYTES:
            return form.decode(request, interface, self.limits)
        if (call := form.decode_quickly(request, interface, self.limits)) is not None:
            return call
        plain = request._replace(query=dict(request.query))
        return await self.run_aside(deadline, form.decode, plain, interface, self.codec_limits)

    async def _encode(
        self, form: Format[Call], call: Call, outputs: Outputs, interface: Interface, request_id: str
    ) -> tuple[HeaderList, bytes]:
        if is_quick_to_write(outputs if call.explanation is None else {**outputs, **call.explanation}):
            return form.encode(call, outputs, interface, request_id)
        bare = replace(call, inputs={})
        return await self.predictor.side_process.run(form.encode, bare, outputs, interface, request_id)

    async def decode_body(
        self, deadline: Deadline, size: int, function: Callable[..., Result], *arguments: Any
    ) -> Result:
        """What a function reads from a body of this size; its last argument is the limits.

        Raises:
            ModelyardError: as the function, or ``run_aside``.
        """
        if size <= INLINE_BYTES:
            return function(*arguments, self.limits)
        return await self.run_aside(deadline, function, *arguments, self.codec_limits)

    async def run_aside(self, deadline: Deadline, function: Callable[..., Result], *arguments: Any) -> Result:
        """What a function returns that would hold the event loop.

        Raises:
            ServingFailed: DEADLINE_EXCEEDED, when it takes too long.
            ModelyardError: as the function, or ``SideProcess.run``.
        """
        try:
            async with asyncio.timeout(deadline.remaining_s):
                return await self.predictor.side_process.run(function, *arguments)
        except TimeoutError:
            raise deadline.make_error() from None

    async def find_interface(
        self, servable: Servable, headers: Headers, record: RequestRecord
    ) -> tuple[Interface, Deadline]:
        """The version that predicts, and until when.

        Raises:
            InvalidRequest: no deadline, or an unknown label.
            ServableNotFound, ServingFailed: as ``Predictor.find_interface``.
        """
        deadline = parse_deadline(headers, self.limits.predict_timeout_s)
        interface = await self.predictor.find_interface(servable, deadline, headers.get(KEY_HEADER))
        record.set_interface(interface)
        return interface, deadline

    def respond(self, form: Format[Call], servable: Servable) -> Response:
        """A view's response: waits for ``run``."""
        flask_request = request_ctx.request  # not Flask's proxy, which is slower at each access
        headers = read_headers(flask_request.environ)
        kind = media_type(headers)
        body = self.read_body(find_limit(self.limits, form.choose_size_setting(headers, kind, self.limits)))
        work = self.run(form, servable, HttpRequest(headers, kind, body, flask_request.args), g.record)
        response_headers, content = self.predictor.wait_for(work)
        return Response(content, headers=response_headers)

    def read_body(self, limit: BodyLimit) -> bytes:
        """A view's body, as ``http.body.read_body``; inflated in a thread, where zlib needs no lock of Python's."""
        request = request_ctx.request
        if "HTTP_CONTENT_ENCODING" not in request.environ:
            return read_body(request, limit)
        return self.predictor.wait_for(asyncio.to_thread(read_body, request, limit))

    def wait_for_interface(self, servable: Servable) -> tuple[Headers, Interface, Deadline]:
        """A view's own ``find_interface``: waits for it."""
        headers = read_headers(request_ctx.request.environ)
        interface, deadline = self.predictor.wait_for(self.find_interface(servable, headers, g.record))
        return headers, interface, deadline
