"""The OpenAPI document says of every route what is true, and of no other."""

import re
import subprocess
import sys
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from modelyard.services.gateway.openapi import document as openapi_document
from modelyard.services.gateway.openapi.protocols import PROTOCOLS
from modelyard.services.ledger import JobRequest
from tests.support.repository import ROOT


@pytest.fixture
def document(client: FlaskClient) -> Any:
    return client.get("/openapi.json").json


def test_every_route_is_in_the_document_and_no_other(app: Flask, document: Any) -> None:
    """By path and method; the pattern for TensorFlow Serving's paths in other cases is no route of its own."""
    rules = [rule for rule in app.url_map.iter_rules() if openapi_document.is_documented(rule.endpoint)]
    routes = {(r.rule.rstrip("/") or "/", m) for r in rules for m in (r.methods or set()) - {"HEAD", "OPTIONS"}}
    plain = {(openapi_document.ARGUMENT.sub(r"{\g<name>}", path), method.lower()) for path, method in routes}
    documented = {(path, key) for path, item in document["paths"].items() for key in item if key != "parameters"}
    assert documented == plain
    described = {name for name, view in app.view_functions.items() if hasattr(view, "operation")}
    assert described | PROTOCOLS.keys() == {rule.endpoint for rule in rules}
    assert not described & PROTOCOLS.keys()


def test_every_path_parameter_is_declared(document: Any) -> None:
    """With its form."""
    for path, item in document["paths"].items():
        assert [f"{{{entry['name']}}}" for entry in item.get("parameters", ())] == find_parameters(path)
        assert all(entry["schema"] for entry in item.get("parameters", ()))


def find_parameters(path: str) -> list[str]:
    return [f"{{{part.partition('}')[0]}}}" for part in path.split("{")[1:]]


def test_every_reference_leads_somewhere(document: Any) -> None:
    """Nothing is referred to that is not there."""

    def check(value: Any) -> None:
        if isinstance(value, dict):
            if "$ref" in value:
                _, part, kind, name = value["$ref"].split("/")
                assert name in document[part][kind]
            for item in value.values():
                check(item)
        elif isinstance(value, list):
            for item in value:
                check(item)

    check(document)
    assert document["openapi"].startswith("3.1")


def test_every_operation_has_an_id_of_its_own_and_says_its_errors(document: Any) -> None:
    """Short ones, as generated clients name functions after them; all errors have one form."""
    operations = [op for item in document["paths"].values() for key, op in item.items() if key != "parameters"]
    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names)
    assert {"predict", "predict_of_version", "predict_of_label", "v2_infer", "submit_job", "list_models"} <= set(names)
    assert [name for name in names if not re.fullmatch(r"[a-z][a-z0-9_]{2,40}", name)] == []
    assert all({"400", "413", "500", "503"} <= operation["responses"].keys() for operation in operations)


def test_a_job_is_described_as_it_is_read(document: Any) -> None:
    """The document is made of the class that reads the body."""
    schemas = document["components"]["schemas"]
    read = JobRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    assert schemas | read.pop("$defs") == schemas
    assert schemas["JobRequest"] == read


def test_nothing_is_loaded_for_the_document_before_the_first_request() -> None:
    """It costs memory and time, and most gateways never need it."""
    code = (
        "import sys; from modelyard.services.gateway import settings, wsgi; "
        "wsgi.create_app(settings.GatewaySettings()); "
        "print([n for n in sys.modules if n.startswith('modelyard.services.gateway.openapi.') and n[-5:] != 'views'])"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_page_shows_the_document_and_loads_nothing_from_elsewhere(client: FlaskClient) -> None:
    """Scripts and styles come from here too, and the policy lets the browser fetch nothing else."""
    page = client.get("/docs/")
    assert client.get("/docs").location.endswith("/docs/")
    assert '"url": "/openapi.json"' in page.text
    parts = re.findall(r"(?:src|href)=\"([^\"]+)\"", page.text)
    assert len(parts) > 3
    for part in parts:
        with client.get(part) as file:
            assert file.status_code == 200
    assert "default-src 'none'; connect-src 'self'" in page.headers["Content-Security-Policy"]
    assert client.get("/docs/../secret").status_code == client.get("/docs/none.js").status_code == 404
