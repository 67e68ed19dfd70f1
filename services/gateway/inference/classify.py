"""``POST /v1/models/NAME[/versions/N|/labels/L]:classify`` and ``:regress``: TensorFlow Serving's examples."""

from typing import Any

from flask import Blueprint, Response, g
from flask.globals import request_ctx

from modelyard.models.tfserving.messages import classification_pb2, regression_pb2
from modelyard.services.gateway.codecs import (
    request as payload,
)
from modelyard.services.gateway.codecs import (
    response as answers,
)
from modelyard.services.gateway.codecs import (
    tf_examples as examples_form,
)
from modelyard.services.gateway.codecs import (
    tfs_json as json_form,
)
from modelyard.services.gateway.http import deadline
from modelyard.services.gateway.http.deadline import Deadline
from modelyard.services.gateway.serving.interface import Interface
from modelyard.services.gateway.serving.predictor import Serving
from modelyard.services.gateway.serving.versions import KEY_HEADER
from modelyard.services.gateway.settings import GatewaySettings


def routes(settings: GatewaySettings, serving: Serving) -> Blueprint:
    """Both verbs."""
    views = Blueprint("examples", __name__)

    @views.post("/v1/models/<model:model>:classify", provide_automatic_options=False)
    @views.post("/v1/models/<model:model>/versions/<version:version>:classify", provide_automatic_options=False)
    @views.post("/v1/models/<model:model>/labels/<label:label>:classify", provide_automatic_options=False)
    def classify(model: str, version: int | None = None, label: str | None = None) -> Response:
        request = classification_pb2.ClassificationRequest()
        interface, until = filled(request, model, version, label)
        reply = serving.classify(interface, request, until)
        return answered(reply, examples_form.classes(reply))

    @views.post("/v1/models/<model:model>:regress", provide_automatic_options=False)
    @views.post("/v1/models/<model:model>/versions/<version:version>:regress", provide_automatic_options=False)
    @views.post("/v1/models/<model:model>/labels/<label:label>:regress", provide_automatic_options=False)
    def regress(model: str, version: int | None = None, label: str | None = None) -> Response:
        request = regression_pb2.RegressionRequest()
        interface, until = filled(request, model, version, label)
        reply = serving.regress(interface, request, until)
        return answered(reply, examples_form.values(reply))

    def filled(message: Any, model: str, version: int | None, label: str | None) -> tuple[Interface, Deadline]:
        """Fills the message from the body; finds who answers it, and until when."""
        request = request_ctx.request
        until = deadline.asked(request.headers.get(deadline.HEADER), settings.predict_timeout_s)
        interface = g.interface = serving.interface(model, version, label, until, request.headers.get(KEY_HEADER))
        asked = json_form.parse(payload.read(request, settings.max_json_bytes), settings.max_depth)
        message.model_spec.signature_name = json_form.find_signature(asked, interface)
        examples_form.fill_input(message.input, asked, settings.max_instances)
        return interface, until

    return views


def answered(reply: Any, results: Any) -> Response:
    g.version = reply.model_spec.version.value or g.interface.version
    return Response(answers.dumped({"results": results}), mimetype="application/json")
