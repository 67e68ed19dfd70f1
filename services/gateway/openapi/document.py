"""The OpenAPI document: the application's own paths and methods, with what ``operations`` says of each view.

Format: https://spec.openapis.org/oas/v3.1.1.html
"""

import importlib.metadata
import re
from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from http.client import responses as PHRASES  # noqa: N812  # a constant there, too
from typing import Any, get_args

from apispec import APISpec
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from werkzeug.routing import Map, Rule

from modelyard.services.gateway import access_log as access
from modelyard.services.gateway.api import jobs as training
from modelyard.services.gateway.auth.permissions import PROBES, VIEWS, roles_with
from modelyard.services.gateway.openapi.body import Error
from modelyard.services.gateway.openapi.jobs import Job
from modelyard.services.gateway.openapi.operations import JSON, OPERATIONS, Contents, Operation

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


def matching(whole: re.Pattern[str]) -> Mapping[str, Any]:
    """The schema of a string that matches a pattern as a whole."""
    return {"type": "string", "pattern": f"^{whole.pattern}$"}


REQUEST_ID = matching(access.REQUEST_ID)
PARAMETERS: Mapping[str, tuple[str, str, Mapping[str, Any]]] = {
    "X-Request-Id": ("header", "Comes back, if it is of this form; else a new one does.", REQUEST_ID),
    "X-Timeout-Ms": ("header", "Time limit; 30000 at most.", {"type": "integer", "minimum": 1}),
    "X-Request-Class": ("header", "Behind everything that is not bulk.", {"enum": ["interactive", "bulk"]}),
    "X-Rollout-Key": ("header", "Of who asks: equal keys get the same version.", {"type": "string"}),
    "Content-Encoding": ("header", "Of the body.", {"enum": ["gzip", "deflate"]}),
    "Idempotency-Key": ("header", "The same key and body within a day give the same job.", matching(training.KEY)),
    "Inference-Header-Content-Length": ("header", "Where JSON ends and binary tensors begin.", {"type": "integer"}),
    "Last-Event-ID": ("header", "Go on after this event.", matching(training.EVENT_ID)),
    "labels": ("query", "Answer rows with their labels.", {"enum": ["true", "false"]}),
    "signature_name": ("query", "Another signature than the default one.", {"type": "string"}),
    "model": ("query", "Only jobs of this model.", {"type": "string"}),
    "state": (
        "query",
        "Only jobs in this state; may come several times.",
        {"type": "array", "items": {"enum": list(get_args(Job.model_fields["state"].annotation))}},
    ),
    "limit": (
        "query",
        "How many jobs.",
        {"type": "integer", "minimum": 1, "maximum": training.MAX_LISTED, "default": 50},
    ),
    "group": ("query", "Only jobs of this search.", {"type": "string"}),
    "before": ("query", "Only jobs older than this one.", {"type": "string", "pattern": "^job-[0-9a-f]{16}$"}),
}
"""Where each stands, what it does, and its values."""
HEADERS: Mapping[str, tuple[str, bool, Mapping[str, Any]]] = {
    "X-Request-Id": ("The request's id, as in the log.", True, REQUEST_ID),
    "X-Model-Version": ("The version that answered.", True, {"type": "integer", "minimum": 0}),
    "X-Model-Data": ("What it was trained on.", False, {"enum": ["real", "sample", "generated"]}),
    "Retry-After": ("Seconds to wait.", True, {"type": "integer", "minimum": 1, "maximum": 30}),
    "WWW-Authenticate": ("How a key is shown.", True, {"const": "Bearer"}),
    "Location": ("Where the job is.", True, {"type": "string"}),
}
"""What each says, whether it is always there, and its values."""
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


def build(rules: Map) -> dict[str, Any]:
    """The whole document. Raises ``KeyError`` for a view that nothing is said about."""
    spec = APISpec(
        title="Modelyard",
        version=importlib.metadata.version("modelyard"),
        openapi_version="3.1.0",
        info={"description": "Predictions, models and training jobs. Every error has one form."},
    )
    add_components(spec)
    for rule in sorted(rules.iter_rules(), key=lambda rule: rule.rule):
        if rule.endpoint not in PATTERNS:
            spec.path(path_of(rule), parameters=list(segments_of(rule)), operations=operations_of(rule))
    return spec.to_dict()


# --- components -------------------------------------------------------------------------------------------------------


def add_components(spec: APISpec) -> None:
    """Everything that operations refer to."""
    spec.components.security_scheme("key", dict(KEY))
    contents = [c for operation in OPERATIONS.values() for c in (operation.takes, *operation.answers.values())]
    bodies: dict[type[BaseModel], None] = {Error: None}
    bodies |= {model: None for content in contents for model in content.values() if model}
    _, found = models_json_schema(
        [(body, "validation") for body in bodies], ref_template="#/components/schemas/{model}"
    )
    for name, schema in found["$defs"].items():
        spec.components.schema(name, component=schema)
    for name, (place, text, schema) in PARAMETERS.items():
        spec.components.parameter(name, place, {"name": name, "description": text, "schema": dict(schema)})
    for name, (text, required, schema) in HEADERS.items():
        spec.components.header(name, {"description": text, "required": required, "schema": dict(schema)})
    for status in {status for operation in OPERATIONS.values() for status in operation.errors}:
        said = ["X-Request-Id", *ERROR_HEADERS.get(status, ())]
        spec.components.response(error_name(status), response(status, {JSON: Error}, said))


def content_of(contents: Contents) -> dict[str, Any]:
    """Schemas by content type; text and bytes have none to speak of."""
    return {
        kind: {"schema": {"$ref": f"#/components/schemas/{model.__name__}"} if model else raw(kind)}
        for kind, model in contents.items()
    }


def raw(kind: str) -> dict[str, Any]:
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
        yield {"name": name, "in": "path", "required": True, "schema": dict(SEGMENTS[kind or None])}


def operations_of(rule: Rule) -> dict[str, Any]:
    """By method; HEAD and OPTIONS follow from the others."""
    methods = (rule.methods or set()) - {"HEAD", "OPTIONS"}
    return {method.lower(): operation_of(rule, OPERATIONS[rule.endpoint]) for method in sorted(methods)}


def operation_of(rule: Rule, operation: Operation) -> dict[str, Any]:
    found = {
        "operationId": "_".join(re.findall(r"\w+", f"{rule.endpoint} {rule.rule}")),
        "summary": operation.summary,
        **asked_of(rule.endpoint),
        "tags": [rule.endpoint.partition(".")[0]],
        "parameters": ["X-Request-Id", *operation.parameters],
        "responses": responses_of(operation),
    }
    if operation.takes:
        found["requestBody"] = {"required": operation.body_required, "content": content_of(operation.takes)}
    return found


def asked_of(endpoint: str) -> dict[str, Any]:
    """Which keys open a view."""
    if endpoint in PROBES:
        return {"security": []}
    return {"security": [{"key": []}], "description": f"Roles: {', '.join(roles_with(VIEWS[endpoint]))}."}


def responses_of(operation: Operation) -> dict[str, Any]:
    """By status: the answers, and the errors, which all have one form."""
    said = ["X-Request-Id", *(("X-Model-Version", "X-Model-Data") if operation.versioned else ())]
    found: dict[int, Any] = {status: error_name(status) for status in operation.errors}
    for status, contents in operation.answers.items():
        if status in found:
            found[status] = not_ready(status, contents)
        else:
            found[status] = response(
                status, contents, [*said, *(["Location"] if status == HTTPStatus.ACCEPTED else [])]
            )
    return {str(status): found[status] for status in sorted(found)}


def response(status: int, contents: Contents, headers: Iterable[str]) -> dict[str, Any]:
    """One kind of answer."""
    return {
        "description": PHRASES.get(status, "Client Closed Request"),
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in headers},
        "content": content_of(contents),
    }


def not_ready(status: int, contents: Contents) -> dict[str, Any]:
    """What a probe says, beside the usual error. It comes again by itself, so nobody tells it when."""
    found, error = response(status, contents, ["X-Request-Id"]), content_of({JSON: Error})
    said = found["content"][JSON]
    said["schema"] = {"anyOf": [said["schema"], error[JSON]["schema"]]}
    return found


def error_name(status: int) -> str:
    """Of the component."""
    return f"Error{status}"
