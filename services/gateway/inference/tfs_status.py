"""What TensorFlow Serving's REST API has beside predictions: state and metadata of versions, and its refusals of paths.

Format: tensorflow/serving ``model_servers/http_rest_api_handler.cc`` and ``http_rest_api_util.cc``.
"""

import re
from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, current_app, g, request
from flask.blueprints import BlueprintSetupState
from flask.typing import ResponseReturnValue
from werkzeug.routing import Rule

from modelyard.models.tfserving.messages import VersionStatus, get_model_metadata_pb2
from modelyard.services.gateway.http.errors import InvalidRequest
from modelyard.services.gateway.http.paths import V1_MODELS, ModelPath, Servable, match_prediction, match_status
from modelyard.services.gateway.serving.interface import INIT_OP
from modelyard.services.gateway.serving.predictor import Predictor

ENDPOINTS = {
    "predict": "predict.predict",
    "classify": "examples.classify",
    "regress": "examples.regress",
    "metadata": "tfs.metadata",
    "status": "tfs.status",
}
MAX_VERSION = 2**63 - 1
SHOWN_CHARS = 200
ORIGIN = re.compile(r"https?://")


def routes(predictor: Predictor) -> Blueprint:
    """``GET /v1/models/NAME[/versions/N|/labels/L][/metadata]``, and every other path below ``/v1/``."""
    views = Blueprint("tfs", __name__)

    def status(model: str, version: int | None = None, label: str | None = None) -> dict[str, Any]:
        del label  # as in TensorFlow Serving, which returns every version
        return {"model_version_status": [status_entry(entry) for entry in predictor.get_status(model, version)]}

    def metadata(model: str, version: int | None = None, label: str | None = None) -> dict[str, Any]:
        interface = predictor.wait_for_interface(Servable(model, version, label))
        g.record.set_interface(interface)
        return signatures_json(predictor.get_metadata(interface))

    for path in V1_MODELS:
        views.get(path, provide_automatic_options=False)(status)
        views.get(f"{path}/metadata", provide_automatic_options=False)(metadata)

    @views.record
    def add_fallback(state: BlueprintSetupState) -> None:
        """Rules for every method, below all others: Flask's own way to add a rule always names methods."""
        for path in ("/v1/", "/V1/"):
            state.app.url_map.add(Rule(f"{path}<rest:rest>", endpoint="tfs.other"))
        state.app.view_functions["tfs.other"] = respond_to_other_path

    return views


def respond_to_other_path(rest: str) -> ResponseReturnValue:
    """A path in other cases than ours, as ``/V1/Models/NAME:Predict``, or one that TensorFlow Serving refuses too.

    Raises:
        InvalidRequest: with TensorFlow Serving's text.
    """
    del rest
    if request.method == "OPTIONS":
        return preflight()
    known: dict[str, Callable[[str], ModelPath | None]] = {"GET": match_status, "POST": match_prediction}
    match = known.get(request.method)
    found = match(request.path) if match else None
    if found is None or found.verb == "infer":
        raise InvalidRequest(f"Malformed request: {request.method[:SHOWN_CHARS]} {request.path[:SHOWN_CHARS]}")
    if not found.model:
        raise InvalidRequest("Missing model name in request.")
    named: dict[str, Any] = {"model": found.model}
    if found.version:
        named["version"] = parse_version(found.version)
    if found.label:
        named["label"] = found.label
    view: Any = current_app.view_functions[ENDPOINTS[found.verb]]
    response: ResponseReturnValue = view(**named)
    return response


def preflight() -> Response:
    """OPTIONS: 200 for a page's preflight request; ``cors`` decides which pages may read responses."""
    if not ORIGIN.search(request.headers.get("Origin", "")):
        raise InvalidRequest("Origin: expected one that begins with http:// or https://")
    return Response(mimetype="application/json")


def parse_version(digits: str) -> int:
    """A version's number; raises ``InvalidRequest`` if 64 bits do not hold it."""
    number = digits.lstrip("0") or "0"
    if len(number) > len(str(MAX_VERSION)) or int(number) > MAX_VERSION:
        raise InvalidRequest(f"Failed to convert version: {digits[:SHOWN_CHARS]} to numeric.")
    return int(number)


def status_entry(entry: VersionStatus) -> dict[str, Any]:
    """One version; numbers of 64 bits are strings in protobuf's JSON."""
    return {
        "version": str(entry.version),
        "state": entry.state,
        "status": {"error_code": entry.error_code, "error_message": entry.error_message},
    }


def signatures_json(reply: get_model_metadata_pb2.GetModelMetadataResponse) -> dict[str, Any]:
    """Protobuf's JSON as TensorFlow Serving prints it: fields in snake_case, defaults included, int64 as strings."""
    from google.protobuf.json_format import MessageToDict  # rarely needed, and slow to import

    found = get_model_metadata_pb2.SignatureDefMap()
    reply.metadata["signature_def"].Unpack(found)
    found.signature_def.pop(INIT_OP, None)
    signatures = MessageToDict(found, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    spec = {"name": reply.model_spec.name, "signature_name": "", "version": str(reply.model_spec.version.value)}
    return {"model_spec": spec, "metadata": {"signature_def": signatures}}
