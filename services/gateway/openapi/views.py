"""``GET /openapi.json``: every route in OpenAPI 3.1, and ``/docs``: the same in Swagger UI.

The modules that build the document are loaded by its first request.
"""

import threading
from functools import cache
from typing import Any

from flask import Blueprint, Response, current_app
from flask_swagger_ui import get_swaggerui_blueprint
from pydantic import RootModel

from modelyard.services.gateway.http.operation import JSON, Operation, describe_view

CONTENT_POLICY = (
    "default-src 'none'; connect-src 'self'; img-src 'self' data:; frame-ancestors 'none'; "
    "script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'"
)
"""The page holds one script of its own; nothing comes from elsewhere, and nothing goes there."""


class Document(RootModel[dict[str, Any]]):
    """OpenAPI 3.1."""


def routes() -> Blueprint:
    """The one view."""
    views = Blueprint("openapi", __name__)
    lock = threading.Lock()  # one thread builds it: several that compute keep Python's lock from the event loop

    @cache
    def encoded_document() -> str:
        from modelyard.services.gateway.openapi.document import build_document  # holds many schemas

        return current_app.json.dumps(build_document(current_app.url_map, current_app.view_functions))

    @views.get("/openapi.json")
    @describe_view(Operation("This document.", {200: {JSON: Document}}))
    def get_document() -> Response:
        with lock:
            document = encoded_document()
        return Response(document, mimetype=JSON)

    return views


def pages() -> Blueprint:
    """Swagger UI, from the files of its package."""
    config = {"app_name": "Modelyard", "validatorUrl": None, "defaultModelsExpandDepth": 0}
    views: Blueprint = get_swaggerui_blueprint("/docs", "/openapi.json", config, blueprint_name="docs")

    @views.after_request
    def protect(response: Response) -> Response:
        if response.mimetype == "text/html":
            response.headers["Content-Security-Policy"] = CONTENT_POLICY
        return response

    return views
