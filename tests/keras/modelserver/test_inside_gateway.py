"""A gateway before the model server in another process and inside its own: the same answers and refusals."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.gateway.wsgi import create_app
from tests.support.modelserver import MODES, Served, Store, X, eventually, model_server, saved

__all__ = ["saved"]  # a fixture

QUICK = {"model_config_file_poll_wait_seconds": 0.02, "file_system_poll_wait_seconds": 0.02}
"""Seconds between two looks at configuration and folders."""
Both = tuple[Served, FlaskClient]


@contextmanager
def serve_both(mode: str, saved: Mapping[int, Path], root: Path) -> Iterator[Both]:
    """Versions 1 and 2 of ``m`` behind a gateway that does not know them."""
    store = Store(root / "store", saved)
    for version in (1, 2):
        store.put("m", version)
    store.configure(store.entry("m", "all {}", {"old": 1}))
    with model_server(mode, store, root, **QUICK) as served:
        eventually(served.is_serving, "ready")
        settings = GatewaySettings(
            store=root / "none",
            ledger_url=f"sqlite:///{root}/ledger.db",
            serving=served.serving,
            external_models=("m",),
            predict_timeout_s=30,
            status_timeout_s=30,
        )
        app = create_app(settings, server=served.inside)
        yield served, app.test_client()
        app.extensions["predictor"].close()
        app.extensions["ledger"].close()


@pytest.fixture(scope="module", params=MODES)
def both(
    request: pytest.FixtureRequest, saved: Mapping[int, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Both]:
    """One for all tests that change and count nothing."""
    with serve_both(request.param, saved, tmp_path_factory.mktemp("both")) as found:
        yield found


@pytest.fixture(params=MODES)
def fresh(request: pytest.FixtureRequest, saved: Mapping[int, Path], tmp_path: Path) -> Iterator[Both]:
    """One of a test's own."""
    with serve_both(request.param, saved, tmp_path) as found:
        yield found


REFUSED = [
    ("m/versions/9:predict", {"instances": [[1.0, 2.0, 3.0]]}, 404, "Specific(m, 9)"),
    ("nothing:predict", {"instances": [[1.0, 2.0, 3.0]]}, 404, "Latest(nothing)"),
    ("m/labels/new:predict", {"instances": [[1.0, 2.0, 3.0]]}, 400, "Unrecognized servable version label: new"),
    (
        "m:predict",
        {"signature_name": "matrix", "instances": [[1.0, 2.0]]},
        400,
        "Matrix size-incompatible: In[0]: [1,2], In[1]: [3,3]",
    ),
    ("m:predict", {"signature_name": "parse", "instances": ["x"]}, 400, "StringToNumberOp could not correctly convert"),
]


@pytest.mark.parametrize(("path", "body", "status", "text"), REFUSED)
def test_refusals_have_one_text_in_both_modes(both: Both, path: str, body: Any, status: int, text: str) -> None:
    """Code and text are the model server's."""
    answer = both[1].post(f"/v1/models/{path}", json=body)
    assert answer.status_code == status, answer.text
    assert text in answer.text


def test_every_kind_of_signature_answers_in_both_modes(both: Both) -> None:
    """Numbers, strings, half precision, scalars, no inputs, labels and versions; states and metadata too."""
    _, client = both

    def outputs(path: str, **body: Any) -> Any:
        answer = client.post(f"/v1/models/{path}", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json["outputs"]

    assert outputs("m:predict", inputs=[[1.0, 2.0, 3.0]]) == {"y": [[2.5, 3.0, 3.5]], "version": 2}
    assert outputs("m/labels/old:predict", inputs=[[1.0, 2.0, 3.0]])["version"] == 1
    assert outputs("m/versions/1:predict", inputs=[[1.0, 2.0, 3.0]])["version"] == 1
    assert outputs("m:predict", signature_name="parse", inputs=["1.5"]) == {"number": [1.5], "text": ["<1.5>"]}
    assert outputs("m:predict", signature_name="half", inputs=[1.5]) == [1.5]
    assert outputs("m:predict", signature_name="slow", inputs=2)["version"] == 2
    states = client.get("/v1/models/m").json
    assert [entry["state"] for entry in states["model_version_status"]] == ["AVAILABLE", "AVAILABLE"]
    metadata = client.get("/v1/models/m/versions/1/metadata").json
    assert metadata["model_spec"] == {"name": "m", "signature_name": "", "version": "1"}
    assert client.get("/readyz").status_code == client.get("/v2/models/m/ready").status_code == 200


def test_a_version_that_is_published_answers_and_a_withdrawn_one_ends(fresh: Both) -> None:
    """The configuration and the folders are watched in both modes."""
    served, client = fresh
    served.store.put("m", 3)
    eventually(lambda: version_of(client) == 3, "version 3 answers")
    served.store.configure(served.store.entry("m", "specific { versions: 2 }"))
    eventually(lambda: version_of(client) == 2, "version 2 alone")


def version_of(client: FlaskClient) -> int | None:
    answer = client.post("/v1/models/m:predict", json={"inputs": [[1.0, 2.0, 3.0]]})
    return answer.json["outputs"]["version"] if answer.status_code == 200 else None


def test_the_metrics_name_the_server_inside(fresh: Both) -> None:
    """Calls, rows and reachability are counted as of any other."""
    served, client = fresh
    assert version_of(client) == 2
    lines = client.get("/metrics").text.splitlines()
    name = served.serving[0]
    assert f'modelyard_gateway_replica_reachable{{pool="default",replica="{name}"}} 1.0' in lines
    assert 'modelyard_gateway_call_rows_sum{model="m"} 1.0' in lines


def test_other_processes_reach_it_over_grpc(both: Both) -> None:
    """Trainers and imports load and compare versions there."""
    served, _ = both
    assert served.predict(1).tolist() == (X / 2 + 1).tolist()
    assert served.health() == "SERVING"


def test_metrics_of_a_model_server_inside_are_among_the_gateways(fresh: Both) -> None:
    """TensorFlow Serving's names, of the gateway's calls; another process has a port of its own for them."""
    served, gateway = fresh
    body = {"signature_name": "matrix", "instances": [[1.0, 2.0, 3.0]]}
    assert gateway.post("/v1/models/m:predict", json=body).status_code == 200
    found = gateway.get("/metrics").text
    label = '{API="Predict",entrypoint="LOCAL",model_name="m"}'
    assert (f":tensorflow:serving:request_latency_count{label}" in found) is (served.inside is not None)
    assert found.count("# TYPE :tensorflow:serving:request_count counter\n") == (served.inside is not None)
