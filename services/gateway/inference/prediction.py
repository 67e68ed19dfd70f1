"""One prediction: find the version, decode, predict, capture, encode. The views and the fast path all run it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from flask import Response, g
from flask.globals import request_ctx

from modelyard.services.gateway.access_log import RequestRecord
from modelyard.services.gateway.codecs import request, response
from modelyard.services.gateway.codecs.inputs import ModelCall
from modelyard.services.gateway.codecs.oip import request as oip_request
from modelyard.services.gateway.codecs.oip import response as oip_response
from modelyard.services.gateway.http.body import HttpRequest, SizeSetting, find_limit, read_body
from modelyard.services.gateway.http.deadline import Deadline, parse_deadline
from modelyard.services.gateway.http.headers import (
    CLASS_HEADER,
    KEY_HEADER,
    HeaderList,
    Headers,
    media_type,
    read_headers,
)
from modelyard.services.gateway.http.paths import Servable
from modelyard.services.gateway.inference.decoder import Decoder
from modelyard.services.gateway.serving.batching import Outputs
from modelyard.services.gateway.serving.interface import Interface
from modelyard.services.gateway.serving.predictor import Predictor
from modelyard.services.gateway.settings import GatewaySettings

Call = TypeVar("Call", bound=ModelCall)


@dataclass(frozen=True)
class Format(Generic[Call]):
    """How one protocol writes requests and responses."""

    choose_size_setting: Callable[[Headers, str, GatewaySettings], SizeSetting]
    """By headers and media type."""
    decode: Callable[[HttpRequest, Interface, GatewaySettings], Call]
    encode: Callable[[Call, Outputs, Interface, str], tuple[HeaderList, bytes]]


TFS = Format(request.choose_size_setting, request.decode, response.encode)
"""TensorFlow Serving's."""
OIP = Format(
    oip_request.choose_size_setting,
    oip_request.decode,
    lambda call, outputs, interface, _: oip_response.encode(call, outputs, interface),
)
"""The Open Inference Protocol's."""


class Predictions:
    """Runs predictions, for the views and the fast path."""

    def __init__(self, predictor: Predictor, limits: GatewaySettings) -> None:
        self.predictor = predictor
        self.limits = limits
        self.decoder = Decoder()

    async def run(
        self, form: Format[Call], servable: Servable, request: HttpRequest, record: RequestRecord
    ) -> tuple[HeaderList, bytes]:
        """Headers and body of the response.

        Raises:
            ModelyardError: as ``find_interface``, the format and ``Predictor.predict`` do.
        """
        interface, deadline = await self.find_interface(servable, request.headers, record)
        call = await self.decoder.run(len(request.body), lambda: form.decode(request, interface, self.limits))
        bulk = request.headers.get(CLASS_HEADER) == "bulk"
        outputs = await self.predictor.predict(
            interface, call.signature, call.inputs, deadline.within(call.timeout_s), bulk=bulk
        )
        record.version = outputs.version
        self.predictor.capture.sample(record.request_id, interface, call.inputs, outputs)
        return form.encode(call, outputs, interface, record.request_id)

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
        body = read_body(flask_request, find_limit(self.limits, form.choose_size_setting(headers, kind, self.limits)))
        work = self.run(form, servable, HttpRequest(headers, kind, body, flask_request.args), g.record)
        response_headers, content = self.predictor.wait_for(work)
        return Response(content, headers=response_headers)

    def wait_for_interface(self, servable: Servable) -> tuple[Headers, Interface, Deadline]:
        """A view's own ``find_interface``: waits for it."""
        headers = read_headers(request_ctx.request.environ)
        interface, deadline = self.predictor.wait_for(self.find_interface(servable, headers, g.record))
        return headers, interface, deadline
