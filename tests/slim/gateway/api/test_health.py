"""Probes, metrics, request ids, headers and the request log."""

import re
from pathlib import Path

import pytest
import structlog
from flask.testing import FlaskClient

from modelyard.models import catalog
from modelyard.models.registry import rollout
from modelyard.models.registry.store import Store
from modelyard.services.gateway.api.queue_state import QueueWatch
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.gateway.wsgi import create_app
from tests.support.fakes import HALF_PLUS, FakeModelServer

PREDICT = f"/v1/models/{HALF_PLUS}:predict"


def test_live_depends_on_nothing() -> None:
    """No store, no model server: restarting this process would not help."""
    client = create_app(GatewaySettings(store="/nonexistent", serving=("127.0.0.1:9",))).test_client()
    assert client.get("/healthz").json == {"live": True}


def test_ready_when_a_stable_version_is_available(client: FlaskClient) -> None:
    """200 and nothing to explain."""
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json) == (200, {"ready": True})


def test_not_ready_without_a_model_server(filled: Store) -> None:
    """Says what is missing."""
    answer = create_app(GatewaySettings(store=filled.root, serving=("127.0.0.1:9",))).test_client().get("/readyz")
    assert answer.status_code == 503
    assert answer.json == {"ready": False, "reasons": ["the model server is not available; try again in a moment"]}


def test_not_ready_before_a_stable_version_is_loaded(client: FlaskClient, server: FakeModelServer) -> None:
    """Every model that waits is named."""
    server.loaded.clear()
    answer = client.get("/readyz")
    assert answer.json is not None
    assert "half_plus version 2 is not loaded" in answer.json["reasons"]


def test_not_ready_before_anything_is_stable(server: FakeModelServer, tmp_path: object) -> None:
    """An empty store."""
    answer = (
        create_app(GatewaySettings(store=f"{tmp_path}/none", serving=(server.address,))).test_client().get("/readyz")
    )
    assert answer.json == {"ready": False, "reasons": ["no model has a stable version yet"]}


def test_not_ready_at_once_when_draining(settings: GatewaySettings) -> None:
    """Whatever the models do; and alive all the same."""
    client = create_app(settings, draining=lambda: True).test_client()
    assert client.get("/readyz").json == {"ready": False, "reasons": ["shutting down"]}
    assert client.get("/healthz").status_code == 200


def test_metrics_count_requests_predictions_and_failures(client: FlaskClient) -> None:
    """By declared route and version; a batch of two counts two; what a client makes up does not become a label."""
    client.post(PREDICT, json={"instances": [[1.0], [2.0]]})
    client.post("/v1/models/nothing_here:predict", json={"instances": [[1.0]]})
    client.open("/made/up/42", method="BREW")
    shown = client.get("/metrics").get_data(as_text=True)
    route = "/v1/models/<model:model>:predict"
    assert f'modelyard_gateway_requests_total{{method="POST",route="{route}",status="200"}} 1.0' in shown
    assert f'modelyard_gateway_requests_total{{method="POST",route="{route}",status="404"}} 1.0' in shown
    assert 'modelyard_gateway_requests_total{method="other",route="unmatched",status="404"} 1.0' in shown
    assert 'modelyard_gateway_predictions_total{model="half_plus",version="2"} 2.0' in shown
    assert "modelyard_gateway_requests_in_flight 1.0" in shown
    assert "nothing_here" not in shown
    assert "made" not in shown


def test_metrics_are_shown_while_the_ledger_is_away(filled: Store, server: FakeModelServer, tmp_path: Path) -> None:
    """Where drift is measured, too: else Prometheus would say that the gateway is down, and not why."""
    (filled.root / catalog.FILE).write_text("{}")  # so the queue is watched
    (tmp_path / "ledger.db").write_bytes(b"no database" * 100)
    settings = GatewaySettings(
        store=filled.root,
        serving=(server.address,),
        ledger_url=f"sqlite:///{tmp_path}/ledger.db",
        captured_models=(HALF_PLUS,),
    )
    app = create_app(settings)
    answer = app.test_client().get("/metrics")
    assert answer.status_code == 200
    assert "modelyard_gateway_requests_in_flight" in answer.get_data(as_text=True)
    watch: QueueWatch = app.extensions["queue_watch"]
    assert watch.is_ledger_away, "the next scrape does not even ask it"
    watch.close()


def test_every_metric_says_what_it_is(client: FlaskClient) -> None:
    """No empty descriptions."""
    shown = client.get("/metrics").get_data(as_text=True)
    assert len(re.findall(r"^# HELP modelyard_gateway_\S+ \S", shown, re.MULTILINE)) >= 6


@pytest.mark.parametrize("path", ["/healthz", "/nothing", PREDICT])
def test_a_clients_request_id_is_returned(client: FlaskClient, path: str) -> None:
    """On every answer, errors too."""
    assert client.get(path, headers={"X-Request-Id": "trace-7.a_B"}).headers["X-Request-Id"] == "trace-7.a_B"


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "\x1b[31m", "id;drop", "é"])
def test_a_harmful_request_id_is_replaced(client: FlaskClient, given: str) -> None:
    """It would end up in logs."""
    found = client.get("/healthz", headers={"X-Request-Id": given}).headers["X-Request-Id"]
    assert re.fullmatch("[0-9a-f]{16}", found)


def test_responses_are_neither_cached_nor_sniffed(client: FlaskClient) -> None:
    """And carry no version of any library."""
    headers = client.get("/version").headers
    assert (headers["Cache-Control"], headers["X-Content-Type-Options"]) == ("no-store", "nosniff")


def test_each_request_is_one_line_without_its_body(client: FlaskClient) -> None:
    """Method, route, status, time, model, version and id; nothing that the client sent."""
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        client.post(PREDICT, json={"instances": [["secret"]]}, headers={"X-Request-Id": "id-1"})
    (line,) = lines
    assert line.pop("ms") >= 0
    assert line == {
        "event": "request",
        "log_level": "info",
        "request_id": "id-1",
        "method": "POST",
        "route": "/v1/models/<model:model>:predict",
        "status": 400,
        "model": HALF_PLUS,
        "version": 2,
    }


def test_probes_that_succeed_are_not_logged(client: FlaskClient) -> None:
    """They come every few seconds."""
    with structlog.testing.capture_logs() as lines:
        client.get("/healthz")
    assert [line["log_level"] for line in lines] == ["debug"]


def test_the_index_lists_the_routes(client: FlaskClient) -> None:
    """A client without documentation starts here."""
    answer = client.get("/api")
    assert answer.json is not None
    assert "POST /v1/models/<model:model>:predict" in answer.json["routes"]
    assert all(re.fullmatch(r"[A-Z]+( or [A-Z]+)* /\S*", route) for route in answer.json["routes"])


def test_a_damaged_rollout_is_an_error_with_a_cause(client: FlaskClient, filled: Store) -> None:
    """Not a wrong version, and not an opaque failure."""
    (filled.folder(HALF_PLUS) / rollout.FILE).write_text("{")
    answer = client.post(PREDICT, json={"instances": [[1.0]]})
    assert answer.status_code == 500
    assert answer.json is not None
    assert answer.json["error"].startswith("rollout of half_plus is damaged")
