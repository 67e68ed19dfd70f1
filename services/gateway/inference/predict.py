"""``POST /v1/models/NAME[/versions/N|/labels/L]:predict``: a request's way to its answer."""

from dataclasses import replace

from flask import Blueprint, Response, g
from flask.globals import request_ctx

from modelyard.services.gateway.auth import principal as callers
from modelyard.services.gateway.codecs import request as payload
from modelyard.services.gateway.codecs import response as answers
from modelyard.services.gateway.http import deadline
from modelyard.services.gateway.inference import bulk, multipart
from modelyard.services.gateway.server.rsgi import CLASS_HEADER, STREAMED
from modelyard.services.gateway.serving.interface import Interface
from modelyard.services.gateway.serving.predictor import Serving
from modelyard.services.gateway.serving.versions import KEY_HEADER
from modelyard.services.gateway.settings import GatewaySettings


def routes(settings: GatewaySettings, serving: Serving) -> Blueprint:
    """The one view that everything else is for."""
    views = Blueprint("predict", __name__)

    @views.post("/v1/models/<model:model>:predict", provide_automatic_options=False)
    @views.post("/v1/models/<model:model>/versions/<version:version>:predict", provide_automatic_options=False)
    @views.post("/v1/models/<model:model>/labels/<label:label>:predict", provide_automatic_options=False)
    def predict(model: str, version: int | None = None, label: str | None = None) -> Response:
        request = request_ctx.request  # itself: looking through Flask's proxy each time is slower
        until = deadline.asked(request.headers.get(deadline.HEADER), settings.predict_timeout_s)
        interface = g.interface = serving.interface(model, version, label, until, request.headers.get(KEY_HEADER))
        if request.mimetype in STREAMED:
            g.interface = pinned(interface)
            return bulk.answer(request, g.interface, settings, serving, g.request_id, callers.current().is_welcome)
        if request.mimetype == multipart.TYPE:
            g.interface = pinned(interface)
            return multipart.answer(request, g.interface, settings, serving, until)
        decoded = payload.decode(request, interface, settings)
        later = request.headers.get(CLASS_HEADER) == "bulk"
        outputs = serving.predict(interface, decoded.signature, decoded.inputs, until, bulk=later)
        g.version = outputs.version
        serving.capture.keep(g.request_id, interface, decoded.inputs, outputs)
        return answers.encode(decoded, outputs, interface, g.request_id)

    return views


def pinned(interface: Interface) -> Interface:
    """The version of now, for a request that takes several calls: all its answers come from one."""
    return replace(interface, floats=False)
