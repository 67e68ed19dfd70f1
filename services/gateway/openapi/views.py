"""``GET /openapi.json``: every route in OpenAPI 3.1, and ``/docs``: the same to look at and to try, in a browser.

What it takes to write the document is loaded by the first who asks.
"""

from functools import cache

from flask import Blueprint, Response, current_app
from flask_swagger_ui import get_swaggerui_blueprint

CONTENT_POLICY = (
    "default-src 'none'; connect-src 'self'; img-src 'self' data:; frame-ancestors 'none'; "
    "script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'"
)
"""The page holds one script of its own; nothing comes from elsewhere, and nothing goes there."""


def routes() -> Blueprint:
    """The one view."""
    views = Blueprint("openapi", __name__)

    @cache
    def written() -> str:
        from modelyard.services.gateway.openapi import document as content  # holds apispec and many schemas

        return current_app.json.dumps(content.build(current_app.url_map))

    @views.get("/openapi.json")
    def document() -> Response:
        return Response(written(), mimetype="application/json")

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
