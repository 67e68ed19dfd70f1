"""Every failure leaves as ``{"error": "…"}``, TensorFlow Serving's form; the request id is in ``X-Request-Id``."""

import random

import structlog
from flask import Flask, Response, g, jsonify, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from modelyard.models.errors import ModelyardError
from modelyard.services.keys import without_secrets

log = structlog.get_logger()

TRY_LATER = (429, 503)
UNKNOWN_CALLER = 401
RETRY_AFTER_S = (1, 3)
"""Spread, so that callers turned away together do not come back together."""
SHOWN_CHARS = 200


class InvalidRequest(ModelyardError):
    """The request cannot be understood, or asks for what the model does not take."""

    status = 400


class ServableNotFound(ModelyardError):
    """No such model or version; worded as TensorFlow Serving words it."""

    status = 404


class BodyTooLarge(ModelyardError):
    """The body is over the limit of its content type; it was not read to the end."""

    status = 413


class UnsupportedType(ModelyardError):
    """The body is in a form that this model does not take."""

    status = 415


class Unimplemented(ModelyardError):
    """Something that TensorFlow Serving does not do in this form either, such as bfloat16 in JSON."""

    status = 501


class InvalidOutput(ModelyardError):
    """The model answered with something other than its manifest says, or with numbers that are not finite."""

    status = 500


def register(app: Flask) -> None:
    """The outermost boundary: whatever a view raises becomes an answer here."""
    app.register_error_handler(ModelyardError, expected)
    app.register_error_handler(HTTPException, refused)
    app.register_error_handler(Exception, unexpected)


def told(error: ModelyardError) -> tuple[int, str, list[tuple[str, str]]]:
    """Status, text and headers of an error of ours."""
    headers = [("retry-after", str(random.randint(*RETRY_AFTER_S)))] if error.status in TRY_LATER else []
    if error.status == UNKNOWN_CALLER:
        headers.append(("www-authenticate", "Bearer"))
    return error.status, without_secrets(str(error)), headers


def opaque(request_id: str) -> str:
    """All that a caller learns of a mistake of ours."""
    return f"internal error, request id {request_id}"


def expected(error: ModelyardError) -> Response:
    """An error of ours: its own status and text."""
    status, text, headers = told(error)
    response = _answer(text, status)
    response.headers.extend(headers)
    return response


def refused(error: HTTPException) -> Response:
    """An error of the HTTP layer: its status and headers (such as Allow), our form."""
    response = _answer(_http_text(error), error.code or 500)
    for name, value in error.get_headers():
        if name != "Content-Type":
            response.headers[name] = value
    return response


def unexpected(error: Exception) -> Response:
    """A mistake of ours: the caller gets an id, the log gets the traceback."""
    log.error("unexpected error", exc_info=error)
    return _answer(opaque(g.request_id), 500)


def _answer(text: str, status: int) -> Response:
    response = jsonify({"error": without_secrets(text)})
    response.status_code = status
    return response


def _http_text(error: HTTPException) -> str:
    if isinstance(error, NotFound):
        return f"no such route: {request.method} {request.path[:SHOWN_CHARS]}; GET / lists them"
    if isinstance(error, MethodNotAllowed):
        return f"{request.method} is not allowed here; expected {', '.join(sorted(error.valid_methods or ()))}"
    return error.description or error.name
