"""``POST /v1/models/NAME[/versions/N|/labels/L]:predict``: one prediction, several files, or any number of lines."""

from flask import Blueprint, Response
from flask.globals import request_ctx

from modelyard.services.gateway.http.headers import MULTIPART, STREAMED
from modelyard.services.gateway.http.paths import V1_MODELS, Servable
from modelyard.services.gateway.http.query import check_parameters
from modelyard.services.gateway.inference import bulk, multipart
from modelyard.services.gateway.inference.prediction import TFS, Predictions

PARAMETERS = ("labels", "explain")
LINE_PARAMETERS = (*PARAMETERS, "signature_name")
"""Of lines, which have no place for a signature's name themselves."""


def routes(predictions: Predictions) -> Blueprint:
    """The view of ``:predict``."""
    views = Blueprint("predict", __name__)

    def predict(model: str, version: int | None = None, label: str | None = None) -> Response:
        request = request_ctx.request
        servable, media_type = Servable(model, version, label), request.mimetype
        known = LINE_PARAMETERS if media_type in STREAMED else PARAMETERS
        check_parameters(request.args.to_dict(flat=False), known)
        if media_type in STREAMED:
            return bulk.respond(predictions, servable)
        if media_type == MULTIPART:
            return multipart.respond(predictions, servable)
        return predictions.respond(TFS, servable)

    for path in V1_MODELS:
        views.post(f"{path}:predict", provide_automatic_options=False)(predict)
    return views
