"""Feedback that comes before gateways have written what they captured."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask
from flask.testing import FlaskClient

from modelyard.models.registry.store import Store
from modelyard.services.gateway.settings import GatewaySettings
from tests.slim.conftest import open_app
from tests.support.fakes import HALF_PLUS, FakeModelServer

ID = {"X-Request-Id": "one"}
PREDICT = f"/v1/models/{HALF_PLUS}:predict"


@pytest.fixture
def settings(filled: Store, server: FakeModelServer, ledger_url: str) -> GatewaySettings:
    return GatewaySettings(
        store=filled.root, serving=(server.address,), ledger_url=ledger_url, captured_models=(HALF_PLUS,)
    )


def test_feedback_directly_after_its_answer_is_recorded(client: FlaskClient) -> None:
    """Its gateway writes what it captured a little later; many in a row, as they come."""
    for number in range(20):
        answer = client.post(PREDICT, json={"instances": [[float(number)]]})
        said = client.post("/api/feedback", json={"request_id": answer.headers["X-Request-Id"], "value": 1.0})
        assert (said.status_code, said.json["version"]) == (201, 2), said.json
    counted = f'modelyard_gateway_feedback_total{{model="{HALF_PLUS}",outcome="value",version="2"}} 20.0'
    assert counted in client.get("/metrics").text


def test_the_origin_of_an_answer_is_known_directly_after_it(client: FlaskClient) -> None:
    """As feedback is."""
    client.post(PREDICT, json={"instances": [[1.0]]}, headers=ID)
    assert client.get("/api/answers/one").json["predicted"] == 2.5


def test_feedback_on_the_answer_of_another_gateway_waits_until_that_one_has_written(
    client: FlaskClient, settings: GatewaySettings
) -> None:
    """Behind a load balancer, an answer and the feedback on it seldom go through the same one."""
    with open_app(settings) as other:
        other.test_client().post(PREDICT, json={"instances": [[1.0]]}, headers=ID)
        assert client.post("/api/feedback", json={"request_id": "one", "value": 1.0}).status_code == 201


def test_only_a_few_requests_wait_for_what_nobody_knows(app: Flask) -> None:
    """Threads are few, and probes need them: who comes while enough others wait is told to come again."""

    def ask(number: int) -> int:
        return app.test_client().get(f"/api/answers/unknown-{number}").status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(ask, range(8)))
    assert set(statuses) <= {404, 503}
    assert statuses[0] == 404


def test_where_nothing_is_captured_nobody_waits(filled: Store, server: FakeModelServer, ledger_url: str) -> None:
    """There is nothing that could still be written: any number at once is 404."""
    settings = GatewaySettings(store=filled.root, serving=(server.address,), ledger_url=ledger_url)
    with open_app(settings) as app, ThreadPoolExecutor(8) as pool:
        asked = list(pool.map(lambda _: app.test_client().get("/api/answers/unknown").status_code, range(8)))
    assert asked == [404] * 8
