"""The OpenAPI document: the application's own paths and methods, with what each view takes and answers.

Format: https://spec.openapis.org/oas/v3.1.1.html
"""

import importlib.metadata
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from http.client import responses as PHRASES  # noqa: N812  # a constant there, too
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema
from werkzeug.routing import Map, Rule

from modelyard.services.gateway import access_log
from modelyard.services.gateway.auth.permissions import PROBES, VIEWS, roles_with
from modelyard.services.gateway.http.json_body import Error
from modelyard.services.gateway.http.operation import JSON, Contents, Operation, Parameter
from modelyard.services.gateway.openapi.protocols import PROTOCOLS

PATTERNS = frozenset({"tfs.other", "docs.show"})
"""Endpoints that are no path of their own: TensorFlow Serving's in other cases and its refusals; files of ``/docs``."""
ARGUMENT = re.compile(r"<(?:(?P<kind>\w+):)?(?P<name>\w+)>")
NAME = {"type": "string", "pattern": "^[^/:]{1,128}$"}
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
"""Of responses: what each says, whether it is always there, and its values."""
COMMON_ERRORS = (400, 401, 403, 408, 413, 431, 500, 503)
"""Errors that any request can have: not understood, no good key, too slow, too large, too many headers, ours, or come
again."""
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
    """The whole document. Raises ``KeyError`` for a view that does not describe itself, and nobody else does."""
    found = sorted((rule for rule in rules.iter_rules() if rule.endpoint not in PATTERNS), key=lambda rule: rule.rule)
    operations = {rule.endpoint: find_operation(rule.endpoint, views) for rule in found}
    references, schemas = build_schemas(operations.values())
    paths: dict[str, Any] = {}
    for rule in found:
        path = paths.setdefault(path_of(rule), {"parameters": list(segments_of(rule))})
        path |= operations_of(rule, operations[rule.endpoint], references)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Modelyard",
            "version": importlib.metadata.version("modelyard"),
            "description": "Predictions, models and training jobs. Every error has one form.",
        },
        "paths": paths,
        "components": components_of(operations.values(), references) | {"schemas": schemas},
    }


def find_operation(endpoint: str, views: Mapping[str, Callable[..., Any]]) -> Operation:
    """What the view says of itself; for the two protocols, what is said of it."""
    operation: Operation | None = getattr(views[endpoint], "operation", None)
    return operation or PROTOCOLS[endpoint]


# --- components -------------------------------------------------------------------------------------------------------


def build_schemas(operations: Iterable[Operation]) -> tuple[Schemas, dict[str, Any]]:
    """References to bodies, and what they refer to, by name. A body is either read or written."""
    modes: dict[type[BaseModel], JsonSchemaMode] = {Error: "serialization"}
    for operation in operations:
        modes |= {body: "serialization" for answer in operation.answers.values() for body in answer.values() if body}
        modes |= {body: "validation" for body in operation.takes.values() if body}
    references, found = models_json_schema(list(modes.items()), ref_template="#/components/schemas/{model}")
    return {body: reference for (body, _), reference in references.items()}, found["$defs"]


def components_of(operations: Iterable[Operation], schemas: Schemas) -> dict[str, Any]:
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
            f"Error{status}": response(status, {JSON: Error}, ["X-Request-Id", *ERROR_HEADERS.get(status, ())], schemas)
            for status in sorted(errors)
        },
    }


def content_of(contents: Contents, schemas: Schemas) -> dict[str, Any]:
    """Schemas by content type; text and bytes have none to speak of."""
    return {kind: {"schema": schemas[body] if body else raw_schema(kind)} for kind, body in contents.items()}


def raw_schema(kind: str) -> dict[str, Any]:
    if kind == "multipart/form-data":
        file = {"type": "string", "format": "binary"}
        return {"type": "object", "properties": {"file": {"type": "array", "items": file, "minItems": 1}}}
    return {"type": "string"} if kind.startswith("text/") or "json" in kind else {"type": "string", "format": "binary"}


# --- paths ------------------------------------------------------------------------------------------------------------


def path_of(rule: Rule) -> str:
    """OpenAPI's form of a path; a slash at its end makes no difference where the rule has one."""
    path = ARGUMENT.sub(r"{\g<name>}", rule.rule)
    return path if path == "/" else path.removesuffix("/")


def segments_of(rule: Rule) -> Iterator[dict[str, Any]]:
    for kind, name in ARGUMENT.findall(rule.rule):
        yield {"name": name, "in": "path", "required": True, "schema": SEGMENTS[kind or None]}


def operations_of(rule: Rule, operation: Operation, schemas: Schemas) -> dict[str, Any]:
    """By method; HEAD and OPTIONS follow from the others."""
    methods = (rule.methods or set()) - {"HEAD", "OPTIONS"}
    return {method.lower(): operation_of(rule, operation, schemas) for method in sorted(methods)}


def operation_of(rule: Rule, operation: Operation, schemas: Schemas) -> dict[str, Any]:
    parameters = (REQUEST_ID_HEADER, *operation.parameters)
    found = {
        "operationId": "_".join(re.findall(r"\w+", f"{rule.endpoint} {rule.rule}")),
        "summary": operation.summary,
        **security_of(rule.endpoint),
        "tags": [rule.endpoint.partition(".")[0]],
        "parameters": [{"$ref": f"#/components/parameters/{parameter.name}"} for parameter in parameters],
        "responses": responses_of(operation, schemas),
    }
    if operation.takes:
        found["requestBody"] = {"required": operation.body_required, "content": content_of(operation.takes, schemas)}
    return found


def security_of(endpoint: str) -> dict[str, Any]:
    """Which keys open a view."""
    if endpoint in PROBES:
        return {"security": []}
    return {"security": [{"key": []}], "description": f"Roles: {', '.join(roles_with(VIEWS[endpoint]))}."}


def responses_of(operation: Operation, schemas: Schemas) -> dict[str, Any]:
    """By status: the answers, and the errors, which all have one form."""
    headers = ["X-Request-Id", *(("X-Model-Version", "X-Model-Data") if operation.versioned else ())]
    headers += ["Location"] if operation.has_location else []
    found: dict[int, Any] = {
        status: {"$ref": f"#/components/responses/Error{status}"} for status in (*COMMON_ERRORS, *operation.errors)
    }
    for status, contents in operation.answers.items():
        if status in found:
            found[status] = not_ready(status, contents, schemas)
        else:
            found[status] = response(status, contents, headers, schemas)
    return {str(status): found[status] for status in sorted(found)}


def response(status: int, contents: Contents, headers: Iterable[str], schemas: Schemas) -> dict[str, Any]:
    """One kind of answer."""
    found = {
        "description": PHRASES.get(status, "Client Closed Request"),
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in headers},
    }
    return found | ({"content": content_of(contents, schemas)} if contents else {})


def not_ready(status: int, contents: Contents, schemas: Schemas) -> dict[str, Any]:
    """What a probe says, beside the usual error. It comes again by itself, so nobody tells it when."""
    both = {"anyOf": [schemas[contents[JSON]], schemas[Error]]}
    return response(status, {}, ["X-Request-Id"], schemas) | {"content": {JSON: {"schema": both}}}
