"""TensorFlow Serving's REST API beside predictions: its grammar of paths, status, metadata, OPTIONS and CORS."""

import pytest
from flask.testing import FlaskClient

from modelyard.models.registry.store import Store
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.gateway.wsgi import create_app
from modelyard.services.settings import InvalidSettings
from tests.support.fakes import HALF_PLUS, FakeModelServer

BODY = {"instances": [[1.0]]}
HUGE = "9" * 20


@pytest.mark.parametrize(
    "path",
    [
        f"/V1/models/{HALF_PLUS}:predict",
        f"/v1/Models/{HALF_PLUS}:predict",
        f"/v1/models/{HALF_PLUS}/Versions/2:predict",
        f"/V1/MODELS/{HALF_PLUS}/LABELS/stable:predict",
        "/v1/models/half%5Fplus:predict",
        f"/v1/models/{HALF_PLUS}/labels/st%61ble:predict",
    ],
)
def test_words_of_a_path_may_be_in_any_case_and_names_percent_encoded(shared_client: FlaskClient, path: str) -> None:
    """Names themselves are what they are."""
    assert shared_client.post(path, json=BODY).json == {"predictions": [[2.5]]}


@pytest.mark.parametrize(
    ("method", "path", "text"),
    [
        ("GET", "/v1/", "Malformed request: GET /v1/"),
        ("GET", "/v1//models", "Malformed request: GET /v1//models"),
        ("GET", f"/v1/models/{HALF_PLUS}:predict", f"Malformed request: GET /v1/models/{HALF_PLUS}:predict"),
        ("PUT", f"/v1/models/{HALF_PLUS}:predict", f"Malformed request: PUT /v1/models/{HALF_PLUS}:predict"),
        ("BREW", "/v1/models/x", "Malformed request: BREW /v1/models/x"),
        ("POST", f"/v1/models/{HALF_PLUS}:Predict", f"Malformed request: POST /v1/models/{HALF_PLUS}:Predict"),
        ("POST", f"/V1/models/{HALF_PLUS}:CLASSIFY", f"Malformed request: POST /V1/models/{HALF_PLUS}:CLASSIFY"),
        ("POST", f"/v1/models/{HALF_PLUS}:train", f"Malformed request: POST /v1/models/{HALF_PLUS}:train"),
        ("POST", f"/v1/models/{HALF_PLUS}", f"Malformed request: POST /v1/models/{HALF_PLUS}"),
        ("POST", "/v1/models/a/versions/1/labels/b:predict", "Malformed request: POST /v1/models/a/versions/1/labels"),
        ("POST", "/v1/models/a/versions/-1:predict", "Malformed request: POST /v1/models/a/versions/-1:predict"),
        ("POST", "/v1/models/a/versions/one:predict", "Malformed request: POST /v1/models/a/versions/one:predict"),
        ("POST", "/v1/models/../../etc/passwd:predict", "Malformed request: POST /v1/models/../../etc/passwd:predict"),
        ("POST", f"/v1/models/{'x' * 5000}:predict", f"Malformed request: POST /v1/models/{'x' * 100}"),
        ("GET", "/v1/models", "Missing model name in request."),
        ("GET", "/v1/models/versions/1", "Missing model name in request."),
        ("GET", "/v1/models/labels/stable/metadata", "Missing model name in request."),
        ("GET", f"/v1/models/a/versions/{HUGE}", f"Failed to convert version: {HUGE} to numeric."),
        ("POST", f"/v1/models/a/versions/{2**63}:predict", f"Failed to convert version: {2**63} to numeric."),
        ("POST", f"/v1/models/a/versions/{'9' * 5000}:regress", "Failed to convert version: 999"),
    ],
)
def test_paths_outside_the_grammar_are_400_with_tensorflow_servings_message(
    shared_client: FlaskClient, method: str, path: str, text: str
) -> None:
    """Whatever begins with ``/v1/`` and any method, as in TensorFlow Serving."""
    answer = shared_client.open(path, method=method)
    assert answer.json is not None
    assert (answer.status_code, answer.json["error"][: len(text)]) == (400, text)
    assert len(answer.data) < 500
    assert answer.headers["X-Request-Id"]


@pytest.mark.parametrize("rest", ["", "/versions/2", "/labels/stable"])
def test_status_is_protobufs_json(shared_client: FlaskClient, rest: str) -> None:
    """Numbers of 64 bits are strings; a label is ignored, as in TensorFlow Serving."""
    entries = [
        {"version": version, "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        for version in (["2"] if "versions" in rest else ["1", "2"])
    ]
    assert shared_client.get(f"/v1/models/{HALF_PLUS}{rest}").json == {"model_version_status": entries}


@pytest.mark.parametrize("rest", ["", "/versions/2", "/labels/stable"])
def test_metadata_is_protobufs_json(shared_client: FlaskClient, rest: str) -> None:
    """Defaults are written out, sizes are strings."""
    answer = shared_client.get(f"/v1/models/{HALF_PLUS}{rest}/metadata")
    shape = {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False}
    signature = {
        "inputs": {"vectors": {"name": "vectors:0", "dtype": "DT_FLOAT", "tensor_shape": shape}},
        "outputs": {},
        "method_name": "tensorflow/serving/predict",
        "defaults": {},
    }
    assert answer.json == {
        "model_spec": {"name": HALF_PLUS, "signature_name": "", "version": "2"},
        "metadata": {"signature_def": {"signature_def": {"serving_default": signature}}},
    }
    assert answer.headers["X-Model-Version"] == "2"


@pytest.mark.parametrize("path", ["/v1/models/x", "/v1/models/x/metadata", f"/v1/models/{HALF_PLUS}/versions/9"])
def test_status_and_metadata_of_what_is_not_there_are_404(shared_client: FlaskClient, path: str) -> None:
    """With the model server's words."""
    answer = shared_client.get(path)
    assert answer.json is not None
    assert (answer.status_code, "not found" in answer.json["error"]) == (404, True)


def test_a_label_that_nothing_bears_is_400(shared_client: FlaskClient) -> None:
    """Not 404, as in TensorFlow Serving."""
    answer = shared_client.post(f"/v1/models/{HALF_PLUS}/labels/canary:predict", json=BODY)
    assert (answer.status_code, answer.json) == (400, {"error": "Unrecognized servable version label: canary"})


@pytest.mark.parametrize(
    ("origin", "status"),
    [("https://app.example.org", 200), ("http://localhost:3000", 200), ("null", 400), ("file://x", 400), (None, 400)],
)
def test_options_wants_an_origin(shared_client: FlaskClient, origin: str | None, status: int) -> None:
    """And allows nothing unless configured."""
    answer = shared_client.options(f"/v1/models/{HALF_PLUS}:predict", headers={"Origin": origin} if origin else {})
    assert answer.status_code == status
    assert not [name for name, _ in answer.headers if name.startswith("Access-Control")]


ORIGIN = "https://app.example.org"


@pytest.fixture
def shared(filled: Store, server: FakeModelServer) -> FlaskClient:
    """A gateway that lets pages of one origin in."""
    settings = GatewaySettings(store=filled.root, serving=(server.address,), cors_origins=(ORIGIN,))
    return create_app(settings).test_client()


def test_pages_of_named_origins_may_ask_and_read(shared: FlaskClient) -> None:
    """The browser's preflight, the response, and an error; the header of the version can be read, too."""
    path = f"/v1/models/{HALF_PLUS}:predict"
    asked = shared.options(path, headers={"Origin": ORIGIN})
    good = shared.post(path, json=BODY, headers={"Origin": ORIGIN})
    bad = shared.post(path, json={}, headers={"Origin": ORIGIN})
    for answer in (asked, good, bad):
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert "Origin" in answer.headers["Vary"]
    assert asked.headers["Access-Control-Allow-Methods"] == "POST, GET"
    assert "X-Model-Version" in good.headers["Access-Control-Expose-Headers"]


@pytest.mark.parametrize("path", [f"/v1/models/{HALF_PLUS}:predict", "/api/jobs"])
@pytest.mark.parametrize("origin", ["https://evil.example.org", f"{ORIGIN}.evil.org", "null"])
def test_pages_of_other_origins_may_not(shared: FlaskClient, path: str, origin: str) -> None:
    """Nor may any page start jobs."""
    answer = shared.options(path, headers={"Origin": origin})
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_no_page_may_start_jobs(shared: FlaskClient) -> None:
    """Only predictions are shared."""
    assert "Access-Control-Allow-Origin" not in shared.options("/api/jobs", headers={"Origin": ORIGIN}).headers


@pytest.mark.parametrize("origins", ["*", "https://a.org/", "https://a.org/path", "a.org", "https://*.a.org"])
def test_origins_are_named_one_by_one(origins: str) -> None:
    """A pattern, or what no browser ever sends, is refused at the start."""
    with pytest.raises(InvalidSettings, match=r"MODELYARD_CORS_ORIGINS: .*expected origins such as"):
        GatewaySettings.load(cors_origins=origins)
