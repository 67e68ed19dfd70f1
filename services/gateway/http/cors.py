"""Lets pages of named origins predict and send feedback: https://fetch.spec.whatwg.org, "CORS protocol".

Off unless set. Never ``*``: the gateway stands on a machine's loopback, where any page in a browser there can reach it.
"""

from collections.abc import Sequence

from flask import Flask, Response, request

PATHS = ("/v1/", "/v2/", "/api/feedback")
PREFLIGHT_HEADERS = {
    "Access-Control-Allow-Methods": "POST, GET",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Content-Encoding, "
    "Inference-Header-Content-Length, X-Capture, X-Request-Class, X-Request-Id, X-Rollout-Key, X-Timeout-Ms",
    "Access-Control-Max-Age": "600",
}
"""Of the response to a browser's preflight request."""
ALLOWED = "Access-Control-Allow-Origin"
EXPOSED = "Inference-Header-Content-Length, Retry-After, X-Model-Data, X-Model-Version, X-Request-Id"


def cors_headers(path: str, origin: str | None, origins: Sequence[str]) -> dict[str, str]:
    """Headers that name the page which may read the response, and say that this depends on the page."""
    if not origins or not path.lower().startswith(PATHS):
        return {}
    if origin is None or origin not in origins:
        return {"Vary": "Origin"}
    return {"Vary": "Origin", ALLOWED: origin, "Access-Control-Expose-Headers": EXPOSED}


def allow_origins(app: Flask, origins: Sequence[str]) -> None:
    """Puts the headers on responses to these origins."""
    if not origins:
        return

    @app.after_request
    def add_headers(response: Response) -> Response:
        found = cors_headers(request.path, request.headers.get("Origin"), origins)
        response.headers.extend(found)
        if request.method == "OPTIONS" and ALLOWED in found:
            response.headers.update(PREFLIGHT_HEADERS)
        return response
