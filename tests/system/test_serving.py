"""Gateway and model server as processes, over SavedModels that nobody of us made: right answers, whatever happens."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.support.http import http
from tests.support.serving import MODEL, Served, modelyard_serve, put, serve_command

SHARING = ("--isolated", "--workers", "2")
ODD_NAMES = ('say "hi"?', "it's 50% off, new", "x" * 140)


@pytest.fixture(scope="module", params=[("--one-process",), SHARING], ids=" ".join)
def mixed(request: pytest.FixtureRequest, made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """``modelyard serve`` over a folder with good models and a broken one, also by two gateways that share the port."""
    root = tmp_path_factory.mktemp("mixed")
    models = root / "models"
    for name in ("half_plus_two", "inverse", "ratio"):
        put(made / name, models / name)
    put(made / MODEL / "1", models / MODEL / "1")
    put(made / MODEL / "1", models / "broken" / "1")
    (models / "broken" / "1" / "saved_model.pb").write_bytes(b"no graph")
    for name in (*ODD_NAMES, "two:parts"):
        put(made / MODEL / "2", models / name / "1")
    (models / "empty").mkdir()
    with modelyard_serve(root / "home", "--models-dir", str(models), *request.param) as served:
        yield served


# --- modelyard serve --------------------------------------------------------------------------------------------------


def test_a_model_in_tensorflow_servings_layout_responds_as_in_its_documentation(mixed: Served) -> None:
    """The zero-padded version folder of its example: rows, columns, metadata and status."""
    rows = mixed.predict("half_plus_two", [1.0, 2.0, 5.0])
    assert (rows.json(), rows.headers["X-Model-Version"]) == ({"predictions": [2.5, 3.0, 4.5]}, "123")
    columns = mixed.post("/v1/models/half_plus_two:predict", json={"inputs": {"x": [1.0, 2.0, 5.0]}})
    assert columns.json() == {"outputs": [2.5, 3.0, 4.5]}
    metadata = mixed.get("/v1/models/half_plus_two/metadata")
    assert metadata["model_spec"] == {"name": "half_plus_two", "signature_name": "", "version": "123"}
    assert "serving_default" in metadata["metadata"]["signature_def"]["signature_def"]
    (state,) = mixed.get("/v1/models/half_plus_two")["model_version_status"]
    assert state == {"version": "123", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}


@pytest.mark.parametrize("mixed", [SHARING], indirect=True, ids=" ".join)
def test_each_gateway_has_answered_and_shows_the_metrics_of_all(mixed: Served) -> None:
    """Each connection goes to one of the two; to which, the kernel decides."""
    for _ in range(30):
        with httpx.Client(base_url=mixed.url) as client:
            client.post("/v1/models/half_plus_two:predict", json={"instances": [1.0]}).raise_for_status()
    text = httpx.get(f"{mixed.url}/metrics").text
    counted = dict(re.findall(r'predictions_total{model="half_plus_two",version="123",worker="(\d)"} (\d+)', text))
    assert counted.keys() == {"1", "2"}
    assert sum(map(int, counted.values())) >= 30


def test_a_broken_model_is_reported_with_its_reason_and_the_others_serve(mixed: Served) -> None:
    """In the printed table, and in its status; a prediction of it says 404 or 503, and nothing of the inside."""
    (row,) = (line for line in mixed.gateway.printed.splitlines() if line.startswith("broken "))
    (state,) = mixed.get("/v1/models/broken")["model_version_status"]
    reason = state["status"]["error_message"]
    assert state["state"] == "END"
    assert len(reason) > 10
    assert reason[:40] in row
    assert mixed.predict("broken", [1.0]).status_code in (404, 503)
    assert mixed.predict("half_plus_two", [1.0]).json() == {"predictions": [2.5]}


def test_models_of_any_name_answer_and_what_is_skipped_is_listed(mixed: Served) -> None:
    """Percent-encoded, in either protocol; each folder that is not served has its reason."""
    for name in ODD_NAMES:
        encoded = quote(name, safe="")
        assert mixed.predict(encoded, [1.0]).json() == {"predictions": [2.5]}
        answer = mixed.post(f"/v2/models/{encoded}/infer", json={"inputs": [fp32([1.0])]})
        assert answer.json()["outputs"][0]["data"] == [2.5]
        assert f"{encoded}:predict" in mixed.gateway.printed
    assert "two:parts   a colon ends a model's name in an address" in mixed.gateway.printed
    assert "empty       it has no numbered folder with a saved_model.pb" in mixed.gateway.printed


@pytest.mark.parametrize(("model", "number"), [("inverse", 0.0), ("ratio", 0.0)])
def test_an_output_that_json_cannot_hold_is_a_clear_error(mixed: Served, model: str, number: float) -> None:
    """Infinity and NaN: a server error with valid JSON that says which output it was. Finite answers go on."""
    for response in (
        mixed.predict(model, [2.0, number]),
        mixed.post(f"/v1/models/{model}:predict", json={"inputs": {"x": [number]}}),
        mixed.post(f"/v2/models/{model}/infer", json={"inputs": [fp32([number])]}),
    ):
        assert 500 <= response.status_code < 503, response.text
        assert "finite" in strict_json(response)["error"]
    assert mixed.predict(model, [2.0]).status_code == httpx.codes.OK


def fp32(numbers: list[float]) -> dict[str, Any]:
    return {"name": "x", "shape": [len(numbers)], "datatype": "FP32", "data": numbers}


def strict_json(response: httpx.Response) -> Any:
    """The body by the letter of RFC 8259, which knows no NaN."""

    def refuse(word: str) -> None:
        pytest.fail(f"not JSON: {word}")

    return json.loads(response.text, parse_constant=refuse)


ROW = b'{"instances": [1.0]}'
V2 = json.dumps({"inputs": [fp32([1.0])]}).encode()
REFUSED = [
    ("POST", "/v1/models/nothing:predict", ROW, 404),
    ("POST", f"/v1/models/{MODEL}/versions/99:predict", ROW, 404),
    ("POST", f"/v1/models/{MODEL}/labels/nothing:predict", ROW, 400),
    ("POST", f"/v1/models/{MODEL}:predict", b'{"signature_name": "nothing", "instances": [1.0]}', 400),
    ("POST", f"/v1/models/{MODEL}:guess", ROW, 400),
    ("POST", f"/v1/models/{MODEL}:predict", b'{"instances": ["one"]}', 400),
    ("POST", f"/v1/models/{MODEL}:predict", b'{"instances": [[1.0]', 400),
    ("POST", f"/v1/models/{MODEL}:predict", b"", 400),
    ("PUT", f"/v1/models/{MODEL}:predict", ROW, 4),
    ("GET", "/v1/models/nothing", b"", 404),
    ("GET", f"/v1/models/{MODEL}/versions/99", b"", 404),
    ("GET", "/v1/models/nothing/metadata", b"", 404),
    ("GET", "/v1/nothing", b"", 4),
    ("GET", "/nothing", b"", 404),
    ("GET", "/v1/models/../../etc/passwd", b"", 4),
    ("POST", "/v2/models/nothing/infer", V2, 404),
    ("POST", f"/v2/models/{MODEL}/versions/99/infer", V2, 404),
    ("POST", f"/v2/models/{MODEL}/versions/x/infer", V2, 4),
    ("POST", f"/v2/models/{MODEL}/guess", V2, 404),
    ("POST", f"/v2/models/{MODEL}/infer", b'{"inputs": []}', 400),
    ("POST", f"/v2/models/{MODEL}/infer", V2.replace(b"FP32", b"FP99"), 400),
    ("POST", f"/v2/models/{MODEL}/infer", V2.replace(b'"x"', b'"z"'), 400),
    ("GET", "/v2/models/nothing", b"", 404),
    ("GET", "/v2/models/nothing/ready", b"", 4),
    ("GET", "/v2/nothing", b"", 404),
]
INSIDE = re.compile(
    r"Traceback|File \"|/(?:home|tmp|usr|root|opt)/|site-packages|\.py\b|\d+\.\d+\.\d+|tensorflow",
    re.IGNORECASE,
)


@pytest.mark.parametrize(("method", "path", "body", "status"), REFUSED)
def test_what_is_not_there_is_refused_in_one_form(
    mixed: Served, method: str, path: str, body: bytes, status: int
) -> None:
    """4xx, ``{"error": text}``, a request id; no stack trace, path or version of a library in text or headers."""
    response = http.request(method, mixed.url + path, content=body, headers={"Content-Type": "application/json"})
    assert str(response.status_code).startswith(str(status)), response.text
    answer = strict_json(response)
    assert list(answer) == ["error"]
    assert answer["error"]
    assert not INSIDE.search(answer["error"]), answer
    assert response.headers["X-Request-Id"]
    assert not re.search(r"\d", response.headers.get("Server", ""))


def test_an_empty_folder_is_one_line_with_what_was_expected(tmp_path: Path) -> None:
    """Exit status 2, before any process is started."""
    empty = tmp_path / "empty"
    empty.mkdir()
    _, _, command = serve_command(tmp_path / "home", "--models-dir", str(empty))
    ended = subprocess.run(
        [sys.executable, "-m", *command],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"COLUMNS": "500"},
    )
    assert ended.returncode == 2
    (line,) = ended.stderr.strip().splitlines()
    assert "has no model" in line
    assert "saved_model.pb" in line
