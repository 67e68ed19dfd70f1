"""Requests made from the OpenAPI document, right ones and wrong ones, and what must be true of every answer.

The document says what any model may be sent; here it is aimed at the models of ``fakes``, so that a good part of
the requests reaches one.
"""

import copy
import json
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, CheckContext, GenerationMode, Response
from schemathesis.specs.openapi import checks

from tests.support.fakes import DIGITS, HALF_PLUS, REVIEWS

MODES = tuple(mode.value for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE))
TRAINABLE = "neuron"
LINES = ("application/jsonl", "application/x-ndjson", "application/jsonlines")
LONG_MS = 5000
"""A deadline as long as the gateway's own gets a response in time."""

# --- aim --------------------------------------------------------------------------------------------------------------

VECTOR = {"type": "array", "items": {"type": "number"}, "minItems": 1, "maxItems": 1}
TENSOR = {"name": "vectors", "shape": [2, 1], "datatype": "FP32", "data": [[1.5], [-2]]}
PARTS: Mapping[str, Any] = {
    "model": {"enum": [HALF_PLUS, DIGITS, REVIEWS, "nothing here"]},
    "label": {"enum": ["stable", "canary"]},
    "version": {"enum": [1, 2, 3]},
}
"""Parts of paths. Wrong ones are made from these, too: anything else is one."""
BODIES: Mapping[str, list[Any]] = {
    "PredictRequest": [
        {"properties": {"instances": {"type": "array", "items": VECTOR, "minItems": 1}}},
        {"properties": {"inputs": {"type": "array", "items": VECTOR, "minItems": 1}}},
        {"properties": {"instances": {"type": "array", "items": {"type": "string"}, "minItems": 1}}},
    ],
    "InferRequest": [
        {"enum": [{"inputs": [TENSOR]}, {"id": "7", "inputs": [TENSOR | {"data": [1, 2]}]}]},
        {"enum": [{"inputs": [TENSOR], "outputs": [{"name": "value", "parameters": {"binary_data": True}}]}]},
        {"enum": [{"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["good"]}]}]},
    ],
    "JobRequest": [{"enum": [{"model": TRAINABLE}, {"model": TRAINABLE, "recipe": "none"}]}],
}
TEXTS: Mapping[str, list[str]] = {
    **{kind: ["[1]\n[2]\n", '[1]\nnot JSON\n[["x"]]\n', '"good"\n'] for kind in LINES},
    "text/csv": ["1\n2\n", "value\n1.5\n", "1,2\n3\n"],
    "text/plain": ["good"],
}


def narrow_to_models(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with the inputs of these models beside those of any; the tested gateway has no keys."""
    found = copy.deepcopy(dict(document))
    del found["components"]["securitySchemes"]
    for path in found["paths"].values():
        for method in path.keys() - {"parameters"}:
            del path[method]["security"]
        for parameter in path.get("parameters", ()):
            if parameter["name"] in PARTS:
                parameter["schema"] = PARTS[parameter["name"]]
        for content in (path.get("post", {}).get("requestBody") or {"content": {}})["content"].items():
            kind, body = content
            if kind in TEXTS:
                body["schema"] = {"anyOf": [{"enum": TEXTS[kind]}, body["schema"]]}
    schemas = found["components"]["schemas"]
    for name, wanted in BODIES.items():
        closed = [schema if "enum" in schema else whole(schema) for schema in wanted]
        schemas[name] = {"anyOf": [*closed, schemas[name]]}
    return found


def whole(schema: dict[str, Any]) -> dict[str, Any]:
    return schema | {"type": "object", "required": list(schema["properties"]), "additionalProperties": False}


@schemathesis.serializer("text/csv", *LINES)
def as_text(_: Any, value: Any) -> bytes:
    """Neither form has a serializer of its own."""
    if isinstance(value, bytes):
        return value
    return (value if isinstance(value, str) else json.dumps(value)).encode("utf-8", "surrogatepass")


# --- check ------------------------------------------------------------------------------------------------------------


def no_failure(_: CheckContext, response: Response, case: Case) -> None:
    """No 5xx but those that are promised: not served here, not now, and not within the request's deadline."""
    status = response.status_code
    limit = str((case.headers or {}).get("X-Timeout-Ms", LONG_MS))
    hurried = limit.isdecimal() and int(limit) < LONG_MS
    promised = {501: True, 503: "retry-after" in response.headers, 504: hurried}
    assert status < 500 or promised.get(status, False), f"status {status}"


CHECKS = (
    no_failure,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
)


class Fuzzer:
    """Sends cases to a gateway that runs."""

    def __init__(self, url: str, document: Mapping[str, Any] | None = None) -> None:
        """``document``: another one than the gateway's own."""
        self.url = url
        self._session = requests.Session()
        self._session.trust_env = False
        self.statuses: Counter[int] = Counter()
        """How often each status was returned."""
        self.document = document or self._session.get(f"{url}/openapi.json", timeout=60).json()
        self.schema = schemathesis.openapi.from_dict(narrow_to_models(self.document))

    def close(self) -> None:
        self._session.close()

    @cached_property
    def all_operations(self) -> tuple[Any, ...]:
        """The document's; to read them takes a quarter of a second."""
        return tuple(result.ok() for result in self.schema.get_all_operations())

    def operations(self, tag: str) -> list[Any]:
        return [operation for operation in self.all_operations if tag in operation.tags]

    def send(self, operation: Any, mode: str, cases: int, number: int, check: Callable[[Case], None]) -> None:
        """Cases of one operation. What ``number`` they are the same ones of is all that chance decides.

        Args:
            mode: one of ``MODES``.
            check: sends a case and checks its response; as ``checked``.
        """

        @seed(number)
        @settings(
            max_examples=cases,
            database=None,
            deadline=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        @given(operation.as_strategy(GenerationMode(mode)))
        def run(case: Case) -> None:
            check(case)

        try:
            run()
        except Unsatisfiable:  # nothing wrong can be sent where nothing is taken
            return

    def checked(self, case: Case) -> None:
        """Sends one case; raises what is wrong with its answer."""
        response = case.call(self.url, self._session, timeout=30)
        self.statuses[response.status_code] += 1
        case.validate_response(response, checks=list(CHECKS))
