"""Every failure leaves as ``{"error": "…"}``, TensorFlow Serving's form; the request id is in ``X-Request-Id``."""

import random

import orjson
import structlog
from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from modelyard.models.errors import ModelyardError
from modelyard.services.gateway.http.headers import JSON_HEADERS, HeaderList
from modelyard.services.keys import mask_keys

log = structlog.get_logger()

TRY_LATER = (429, 503)
UNAUTHENTICATED = 401
RETRY_AFTER_S = (1, 3)
"""Spread, so that clients that were shed together do not come back together."""
SHOWN_CHARS = 200


class InvalidRequest(ModelyardError):
    """The request is malformed, or does not fit the model."""

    status = 400


class BodyBroken(InvalidRequest):
    """The connection was closed before the end of the body."""


class ServableNotFound(ModelyardError):
    """No such model or version; with TensorFlow Serving's text."""

    status = 404


class BodyTooLarge(ModelyardError):
    """The body is over the limit of its content type; it was not read to the end."""

    status = 413


class UnsupportedType(ModelyardError):
    """The body is in a form that this model does not take."""

    status = 415


class AtypicalInput(ModelyardError):
    """The input is unlike those that the model was trained on, and the model refuses such."""

    status = 422

    def __init__(self, model: str, atypicality: float, place: str = "") -> None:
        super().__init__(model, atypicality, place)
        self._text = (
            f"{place}expected an input like those that {model} was trained on, received one whose atypicality is "
            f"{atypicality:.3g}; up to 1 is typical"
        )

    def __str__(self) -> str:
        return self._text


class Unimplemented(ModelyardError):
    """Something that TensorFlow Serving does not do in this form either, such as bfloat16 in JSON."""

    status = 501


class RateLimited(ModelyardError):
    """The client has used up what it may do for now; the headers say when there will be more."""

    status = 429

    def __init__(self, message: str, headers: HeaderList) -> None:
        super().__init__(message)
        self.headers = headers


class InvalidOutput(ModelyardError):
    """The outputs are not as the manifest declares them, or with numbers that are not finite."""

    status = 500


def not_found_text(model: str, version: int | str | None) -> str:
    """TensorFlow Serving's text."""
    wanted = f"Latest({model})" if version is None else f"Specific({model}, {version})"
    return f"Servable not found for request: {wanted}"


def register_handlers(app: Flask) -> None:
    """The outermost boundary: whatever a view raises becomes a response here."""
    app.register_error_handler(HTTPException, http_response)
    app.register_error_handler(Exception, error_response)


def encode_error(text: str) -> bytes:
    """The body of an error response."""
    return orjson.dumps({"error": mask_keys(text)})


def describe_error(error: ModelyardError) -> tuple[int, str, HeaderList]:
    """Status, text and headers of a ``ModelyardError``."""
    headers = [("retry-after", str(random.randint(*RETRY_AFTER_S)))] if error.status in TRY_LATER else []
    if isinstance(error, RateLimited):
        headers = list(error.headers)
    if error.status == UNAUTHENTICATED:
        headers.append(("www-authenticate", "Bearer"))
    return error.status, mask_keys(str(error)), headers


def render_error(error: Exception, request_id: str) -> tuple[int, HeaderList, bytes]:
    """Status, headers and body of any error. Of an unexpected one the client gets an id, the log gets the traceback."""
    if isinstance(error, ModelyardError):
        status, text, headers = describe_error(error)
    else:
        log.error("unexpected error", exc_info=error)
        status, text, headers = 500, f"internal error, request id {request_id}", []
    return status, [*JSON_HEADERS, *headers], encode_error(text)


def error_response(error: Exception) -> Response:
    status, headers, body = render_error(error, g.request_id)
    return Response(body, status, headers)


def http_response(error: HTTPException) -> Response:
    """An error of the HTTP layer: its status and headers (such as Allow), our form."""
    response = Response(encode_error(_http_text(error)), error.code or 500, JSON_HEADERS)
    for name, value in error.get_headers():
        if name != "Content-Type":
            response.headers[name] = value
    return response


def _http_text(error: HTTPException) -> str:
    if isinstance(error, NotFound):
        return f"no such route: {request.method} {request.path[:SHOWN_CHARS]}; GET /api lists them"
    if isinstance(error, MethodNotAllowed):
        return f"{request.method} is not allowed here; expected {', '.join(sorted(error.valid_methods or ()))}"
    return error.description or error.name
