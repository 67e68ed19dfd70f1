"""``POST /v1/models/NAME[/versions/N|/labels/L]:classify`` and ``:regress``: TensorFlow Serving's examples."""

from typing import Any

from flask import Blueprint, Response, g, request

from modelyard.models.tfserving.messages import classification_pb2, regression_pb2
from modelyard.services.gateway.codecs import tf_examples, tfs_json
from modelyard.services.gateway.codecs.response import encode_json
from modelyard.services.gateway.http.body import find_limit
from modelyard.services.gateway.http.deadline import Deadline
from modelyard.services.gateway.http.headers import JSON_HEADERS
from modelyard.services.gateway.http.paths import V1_MODELS, Servable
from modelyard.services.gateway.http.query import check_parameters
from modelyard.services.gateway.inference.prediction import Predictions
from modelyard.services.gateway.serving.interface import Interface
from modelyard.services.gateway.settings import GatewaySettings


def routes(predictions: Predictions) -> Blueprint:
    """Both verbs."""
    views = Blueprint("examples", __name__)
    predictor, limits = predictions.predictor, predictions.limits

    def classify(model: str, version: int | None = None, label: str | None = None) -> Response:
        message = classification_pb2.ClassificationRequest()
        reply = predictor.classify(*decode(message, Servable(model, version, label)))
        return respond(reply, tf_examples.encode_classes(reply))

    def regress(model: str, version: int | None = None, label: str | None = None) -> Response:
        message = regression_pb2.RegressionRequest()
        reply = predictor.regress(*decode(message, Servable(model, version, label)))
        return respond(reply, tf_examples.encode_values(reply))

    def decode(message: Any, servable: Servable) -> tuple[Interface, Any, Deadline]:
        """Fills the message from the body; finds the version that predicts, and until when."""
        check_parameters(request.args.to_dict(flat=False), ())
        _, interface, deadline = predictions.wait_for_interface(servable)
        body = predictions.read_body(find_limit(limits, "max_json_bytes"))
        work = predictions.decode_body(deadline, len(body), read_examples, body, message, interface)
        return interface, predictor.wait_for(work), deadline

    for path in V1_MODELS:
        views.post(f"{path}:classify", provide_automatic_options=False)(classify)
        views.post(f"{path}:regress", provide_automatic_options=False)(regress)
    return views


def read_examples(body: bytes, message: Any, interface: Interface, limits: GatewaySettings) -> Any:
    """The message, filled from the body; raises ``InvalidRequest`` or ``BodyTooLarge``."""
    parsed = tfs_json.parse(body, limits)
    message.model_spec.signature_name = tf_examples.find_signature(parsed, interface)
    tf_examples.fill_input(message.input, parsed, limits.max_instances)
    return message


def respond(reply: Any, results: Any) -> Response:
    g.record.version = reply.model_spec.version.value or g.record.version
    return Response(encode_json({"results": results}), headers=JSON_HEADERS)
