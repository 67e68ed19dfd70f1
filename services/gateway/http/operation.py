"""Descriptions of views: request and response bodies, declared at the view; source of the OpenAPI document."""

import functools
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, get_args

import orjson
from flask import Response, request
from pydantic import BaseModel

from modelyard.services.gateway.http.body import BodyLimit, read_body
from modelyard.services.gateway.http.json_body import parse_json_body

Contents = Mapping[str, type[BaseModel] | None]
"""Bodies by content type; None where a body is bytes or text of another kind."""
View = TypeVar("View", bound=Callable[..., Any])

JSON = "application/json"
MAX_BODY_BYTES = 16 * 1024
MODEL_SERVER_ERRORS = (404, 429, 501, 504)
"""Errors of a view that calls a model server."""


@dataclass(frozen=True, eq=False)
class Parameter:
    """A header, or a field of the query."""

    name: str
    place: str
    """``header`` or ``query``."""
    description: str
    schema: Mapping[str, Any]
    """JSON Schema of its values."""


CONTENT_ENCODING = Parameter("Content-Encoding", "header", "Of the body.", {"enum": ["gzip", "deflate", "identity"]})


@dataclass(frozen=True)
class Operation:
    """One view."""

    summary: str
    responses: Mapping[int, Contents]
    request_bodies: Contents = field(default_factory=dict)
    body_required: bool = True
    parameters: tuple[Parameter, ...] = ()
    """Every operation also takes X-Request-Id."""
    errors: tuple[int, ...] = ()
    """Beside those that any request can have."""
    versioned: bool = False
    """Whether the response names its version in a header."""
    has_location: bool = False
    """Whether the response has a ``Location`` header."""


def describe_view(operation: Operation) -> Callable[[View], View]:
    """Describes a view that reads and writes its bodies itself."""

    def mark(view: View) -> View:
        view.operation = operation  # type: ignore[attr-defined]  # functions have any attribute
        return view

    return mark


def json_view(
    *,
    status: int = 200,
    max_body_bytes: int = MAX_BODY_BYTES,
    empty_body: bytes = b"",
    location: str = "",
    exclude_unset: bool = False,
    parameters: tuple[Parameter, ...] = (),
    errors: tuple[int, ...] = (),
) -> Callable[[Callable[..., BaseModel]], Callable[..., Response]]:
    """Makes a view of a function that takes and returns bodies of JSON, and describes it by its annotations.

    Its argument ``body``, if it has one, is the request's; its docstring begins with the summary.

    Args:
        status: of the response, unless the body's class has a ``http_status``.
        empty_body: the body to parse if the request has none.
        location: the ``Location`` header, with fields of the response's body in braces.
        exclude_unset: leave out what the function has not set.
    """

    def wrap(function: Callable[..., BaseModel]) -> Callable[..., Response]:
        takes = function.__annotations__.get("body")

        @functools.wraps(function)
        def view(**arguments: Any) -> Response:
            if takes:
                arguments["body"] = parse_json_body(takes, read_body(request, BodyLimit(max_body_bytes)) or empty_body)
            body = function(**arguments)
            headers = {"Location": location.format_map(vars(body))} if location else None
            content = encode_body(body, exclude_unset=exclude_unset)
            return Response(content, getattr(body, "http_status", status), headers, mimetype=JSON)

        operation = Operation(
            summary=(function.__doc__ or "").partition("\n")[0],
            responses={getattr(kind, "http_status", status): {JSON: kind} for kind in list_response_classes(function)},
            request_bodies={JSON: takes} if takes else {},
            body_required=not empty_body,
            parameters=((CONTENT_ENCODING,) if takes else ()) + parameters,
            errors=((415,) if takes else ()) + errors,
            has_location=bool(location),
        )
        return describe_view(operation)(view)

    return wrap


def list_response_classes(function: Callable[..., BaseModel]) -> Iterator[type[BaseModel]]:
    """Classes of the bodies that a function returns."""
    returned = function.__annotations__["return"]
    yield from get_args(returned) if isinstance(returned, types.UnionType) else (returned,)


def encode_body(body: BaseModel, *, exclude_unset: bool = False) -> bytes:
    """JSON; a job of another release may have values that this one would not take."""
    return orjson.dumps(body.model_dump(exclude_unset=exclude_unset, warnings=False))
