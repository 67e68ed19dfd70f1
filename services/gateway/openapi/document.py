"""The OpenAPI document: the application's paths and methods, with the bodies of each view.

Format: https://spec.openapis.org/oas/v3.1.1.html
"""

import importlib.metadata
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from http.client import responses as PHRASES  # noqa: N812  # a constant there, too
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema
from werkzeug.routing import Map, Rule

from modelyard.services.gateway import access_log
from modelyard.services.gateway.auth.permissions import PROBES, PUBLIC, VIEWS, roles_with
from modelyard.services.gateway.http.json_body import Error
from modelyard.services.gateway.http.operation import JSON, Contents, Operation, Parameter
from modelyard.services.gateway.openapi.protocols import PROTOCOLS

PATTERNS = frozenset({"tfs.other", "docs.show"})
"""Endpoints that are no path of their own: TensorFlow Serving's in other cases and its refusals; files of ``/docs``."""
ARGUMENT = re.compile(r"<(?:(?P<kind>\w+):)?(?P<name>\w+)>")
VARIANTS: Mapping[str, str] = {"/versions/<": "_of_version", "/labels/<": "_of_label"}
"""Endings of an operation's name, by a part of its path, where one view has several paths."""
NAME = {"type": "string", "pattern": "^[^/:]{1,255}$"}
SEGMENTS: Mapping[str | None, Mapping[str, Any]] = {
    "model": NAME,
    "label": NAME,
    "version": {"type": "integer", "minimum": 0, "maximum": 10**18 - 1},
    None: {"type": "string", "pattern": "^[^/]+$"},
}
"""Parts of a path by their converter."""
REQUEST_ID = {"type": "string", "pattern": f"^{access_log.REQUEST_ID.pattern}$"}
REQUEST_ID_HEADER = Parameter(
    "X-Request-Id", "header", "Comes back, if it is of this form; else a new one does.", REQUEST_ID
)
HEADERS: Mapping[str, tuple[str, bool, Mapping[str, Any]]] = {
    "X-Request-Id": ("The request's id, as in the log.", True, REQUEST_ID),
    "X-Model-Version": ("The version that answered.", True, {"type": "integer", "minimum": 0}),
    "X-Model-Data": ("What it was trained on.", False, {"enum": ["real", "sample", "generated"]}),
    "Retry-After": ("Seconds to wait.", True, {"type": "integer", "minimum": 1, "maximum": 30}),
    "WWW-Authenticate": ("How a key is presented.", True, {"const": "Bearer"}),
    "Location": ("Where the job is.", True, {"type": "string"}),
}
"""Headers of responses: description, whether it is always there, and schema."""
MEANINGS: Mapping[int, str] = {
    400: "The request cannot be understood, or is not what the model or the view takes.",
    401: "No valid API key.",
    403: "The key's role may not do this.",
    404: "No such thing, or none for this key.",
    408: "The body did not arrive in time.",
    409: "Not in the present state; the text says why.",
    413: "The body is too large; the text names the limit.",
    415: "The body is in a form that is not taken here; the text names those that are.",
    422: "The idempotency key was used for another request.",
    429: "The client's limit is reached, or the model server's queue is full.",
    431: "The headers are too large.",
    500: "An error of the gateway or of the model; the log has it under the request's id.",
    501: "Not done here, nor by TensorFlow Serving in this form.",
    503: "More requests than can be answered in time, or something that is needed is away. Try again.",
    504: "No answer within the time limit.",
}
"""Of errors, by status."""
COMMON_ERRORS = (400, 401, 403, 408, 413, 431, 500, 503)
"""Errors that any request can have: malformed, unauthenticated, forbidden, too slow, too large, too many headers,
internal, overloaded."""
ERROR_HEADERS: Mapping[int, tuple[str, ...]] = {
    401: ("WWW-Authenticate",),
    429: ("Retry-After",),
    503: ("Retry-After",),
}
"""Beside the request's id."""
KEY: Mapping[str, Any] = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "myd_PREFIX_SECRET",
    "description": "An API key. Needed where the gateway has keys, for all but the probes.",
}
Schemas = Mapping[Any, Any]
"""References by class of a body."""


def build_document(rules: Map, views: Mapping[str, Callable[..., Any]]) -> dict[str, Any]:
    """The whole document. Raises ``KeyError`` for a view without a description."""
    found = sorted((rule for rule in rules.iter_rules() if is_documented(rule.endpoint)), key=lambda rule: rule.rule)
    operations = {rule.endpoint: find_operation(rule.endpoint, views) for rule in found}
    several = {endpoint for endpoint, count in Counter(rule.endpoint for rule in found).items() if count > 1}
    references, schemas = build_schemas(operations.values())
    paths: dict[str, Any] = {}
    for rule in found:
        path = paths.setdefault(convert_path(rule), {"parameters": list(build_path_parameters(rule))})
        name = name_operation(rule, has_variants=rule.endpoint in several)
        path |= build_operations(rule, name, operations[rule.endpoint], references)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Modelyard",
            "version": importlib.metadata.version("modelyard"),
            "description": "Predictions, models and training jobs. Every error has one form.",
        },
        "servers": [{"url": "/", "description": "This gateway."}],
        "paths": paths,
        "components": build_components(operations.values(), references) | {"schemas": schemas},
    }


def is_documented(endpoint: str) -> bool:
    """Whether a view is of the API: not a page of the console, nor a pattern."""
    return endpoint not in PATTERNS and not endpoint.startswith("console.")


def find_operation(endpoint: str, views: Mapping[str, Callable[..., Any]]) -> Operation:
    """The description of a view, its own or that in ``protocols``."""
    operation: Operation | None = getattr(views[endpoint], "operation", None)
    return operation or PROTOCOLS[endpoint]


# --- components -------------------------------------------------------------------------------------------------------


def build_schemas(operations: Iterable[Operation]) -> tuple[Schemas, dict[str, Any]]:
    """References to bodies, and what they refer to, by name. A body is either read or written."""
    modes: dict[type[BaseModel], JsonSchemaMode] = {Error: "serialization"}
    for operation in operations:
        modes |= {body: "serialization" for answer in operation.responses.values() for body in answer.values() if body}
        modes |= {body: "validation" for body in operation.request_bodies.values() if body}
    references, found = models_json_schema(list(modes.items()), ref_template="#/components/schemas/{model}")
    return {body: reference for (body, _), reference in references.items()}, found["$defs"]


def build_components(operations: Iterable[Operation], schemas: Schemas) -> dict[str, Any]:
    """Everything but schemas that operations refer to."""
    operations = tuple(operations)
    parameters = {REQUEST_ID_HEADER} | {parameter for operation in operations for parameter in operation.parameters}
    errors = {*COMMON_ERRORS}.union(*(operation.errors for operation in operations))
    return {
        "securitySchemes": {"key": KEY},
        "parameters": {
            each.name: {"name": each.name, "in": each.place, "description": each.description, "schema": each.schema}
            for each in sorted(parameters, key=lambda parameter: parameter.name)
        },
        "headers": {
            name: {"description": text, "required": required, "schema": schema}
            for name, (text, required, schema) in HEADERS.items()
        },
        "responses": {
            f"Error{status}": build_response(
                status, {JSON: Error}, ["X-Request-Id", *ERROR_HEADERS.get(status, ())], schemas
            )
            for status in sorted(errors)
        },
    }


def build_content(contents: Contents, schemas: Schemas) -> dict[str, Any]:
    """Schemas by content type; those of text and bytes are plain strings."""
    return {kind: {"schema": schemas[body] if body else build_raw_schema(kind)} for kind, body in contents.items()}


def build_raw_schema(kind: str) -> dict[str, Any]:
    if kind == "multipart/form-data":
        file = {"type": "string", "format": "binary"}
        several = {"file": {"type": "array", "items": file, "minItems": 1}}
        return {"type": "object", "properties": several, "description": "Files, or the inputs of one row by name."}
    return {"type": "string"} if kind.startswith("text/") or "json" in kind else {"type": "string", "format": "binary"}


# --- paths ------------------------------------------------------------------------------------------------------------


def convert_path(rule: Rule) -> str:
    """OpenAPI's form of a path; a slash at its end makes no difference where the rule has one."""
    path = ARGUMENT.sub(r"{\g<name>}", rule.rule)
    return path if path == "/" else path.removesuffix("/")


def build_path_parameters(rule: Rule) -> Iterator[dict[str, Any]]:
    for kind, name in ARGUMENT.findall(rule.rule):
        yield {"name": name, "in": "path", "required": True, "schema": SEGMENTS[kind or None]}


def name_operation(rule: Rule, *, has_variants: bool) -> str:
    """The name of a function in a generated client, such as ``submit_job`` or ``predict_of_version``."""
    blueprint, _, name = rule.endpoint.partition(".")
    name = f"v2_{name}" if blueprint == "v2" else name
    ending = next((ending for part, ending in VARIANTS.items() if part in rule.rule), "") if has_variants else ""
    return f"{name}{ending}"


def build_operations(rule: Rule, name: str, operation: Operation, schemas: Schemas) -> dict[str, Any]:
    """By method; HEAD and OPTIONS follow from the others."""
    methods = (rule.methods or set()) - {"HEAD", "OPTIONS"}
    return {method.lower(): build_operation(rule, name, operation, schemas) for method in sorted(methods)}


def build_operation(rule: Rule, name: str, operation: Operation, schemas: Schemas) -> dict[str, Any]:
    parameters = (REQUEST_ID_HEADER, *operation.parameters)
    found = {
        "operationId": name,
        "summary": operation.summary,
        **build_security(rule.endpoint),
        "tags": [rule.endpoint.partition(".")[0]],
        "parameters": [{"$ref": f"#/components/parameters/{parameter.name}"} for parameter in parameters],
        "responses": build_responses(operation, schemas),
    }
    if operation.request_bodies:
        found["requestBody"] = {
            "required": operation.body_required,
            "content": build_content(operation.request_bodies, schemas),
        }
    return found


def build_security(endpoint: str) -> dict[str, Any]:
    """The security requirement of a view."""
    if endpoint in PROBES | PUBLIC:
        return {"security": []}
    return {"security": [{"key": []}], "description": f"Roles: {', '.join(roles_with(VIEWS[endpoint]))}."}


def build_responses(operation: Operation, schemas: Schemas) -> dict[str, Any]:
    """Responses by status: bodies of success, and errors, which all have one schema."""
    headers = ["X-Request-Id", *(("X-Model-Version", "X-Model-Data") if operation.versioned else ())]
    headers += ["Location"] if operation.has_location else []
    found: dict[int, Any] = {
        status: {"$ref": f"#/components/responses/Error{status}"} for status in (*COMMON_ERRORS, *operation.errors)
    }
    for status, contents in operation.responses.items():
        if status in found:
            found[status] = build_not_ready(status, contents, schemas)
        else:
            found[status] = build_response(status, contents, headers, schemas)
    return {str(status): found[status] for status in sorted(found)}


def build_response(status: int, contents: Contents, headers: Iterable[str], schemas: Schemas) -> dict[str, Any]:
    """One response."""
    found = {
        "description": MEANINGS.get(status) or PHRASES[status],
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in headers},
    }
    return found | ({"content": build_content(contents, schemas)} if contents else {})


def build_not_ready(status: int, contents: Contents, schemas: Schemas) -> dict[str, Any]:
    """The 503 of a probe, beside the usual error; without Retry-After, as probes repeat by themselves."""
    both = {"anyOf": [schemas[contents[JSON]], schemas[Error]]}
    return build_response(status, {}, ["X-Request-Id"], schemas) | {"content": {JSON: {"schema": both}}}
