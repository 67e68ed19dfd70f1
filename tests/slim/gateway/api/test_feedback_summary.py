"""Right and wrong predictions by day and version."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from modelyard.models.registry.store import Store
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.ledger import Ledger
from modelyard.services.ledger.feedback import CapturedPrediction
from tests.support.fakes import HALF_PLUS, REVIEWS, FakeModelServer

NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)
"""Yesterday: no test is run on two days of its own."""


@pytest.fixture
def settings(filled: Store, server: FakeModelServer, ledger_url: str) -> GatewaySettings:
    captured = (REVIEWS,)
    return GatewaySettings(
        store=filled.root, serving=(server.address,), ledger_url=ledger_url, captured_models=captured
    )


def tell(ledger: Ledger, number: int, at: datetime, truth: float | None, **more: Any) -> None:
    """A review that was taken for class 0, and what it was."""
    given = {"model": REVIEWS, "version": 1, "chosen": "outcome", "right": truth == 0} | more
    answer = CapturedPrediction(
        f"id-{number}", 0, given["model"], given["version"], "text", "bytes", (), b"<b>good</b>", 0.0, 0.9, at
    )
    ledger.feedback.capture([answer])
    if truth is not None:
        ledger.feedback.record_truth(answer, truth, right=given["right"], client="c", chosen=given["chosen"])


def read(client: FlaskClient, model: str = REVIEWS, **query: Any) -> Any:
    response = client.get(f"/api/models/{model}/feedback", query_string=query)
    assert response.status_code == 200, response.json
    return response.json


def test_predictions_are_counted_by_day_and_the_wrong_ones_listed(client: FlaskClient, ledger: Ledger) -> None:
    """Days are UTC's; what was chosen by what the model said does not count for accuracy."""
    before = NOON - timedelta(days=1)
    midnight = NOON.replace(hour=0)
    told = [
        (NOON, 0.0),
        (NOON, 0.0),
        (NOON, 1.0),
        (NOON, None),
        (midnight, 0.0),
        (midnight - timedelta(seconds=1), 1.0),
    ]
    for number, (at, truth) in enumerate(told):
        tell(ledger, number, at, truth)
    tell(ledger, 10, NOON, 1.0, chosen="margin")
    tell(ledger, 11, NOON - timedelta(days=80), 1.0)
    found = read(client)
    counts = [(day["day"], day["right"], day["wrong"], day["biased"], day["unlabelled"]) for day in found["days"]]
    assert counts == [(f"{before:%Y-%m-%d}", 0, 1, 0, 0), (f"{NOON:%Y-%m-%d}", 3, 1, 1, 1)]
    (version,) = found["versions"]
    assert (version["labels"], version["right"], version["accuracy"]) == (5, 3, 0.6)
    assert 0.2 < version["low"] < 0.6 < version["high"] < 0.9
    assert [one["request_id"] for one in found["wrong"]] == ["id-10", "id-5", "id-2"]
    newest = found["wrong"][0]
    assert (newest["predicted"], newest["label"], newest["inputs"][0]["value"]) == (
        "negative",
        "positive",
        "<b>good</b>",
    )
    assert (found["captured"], found["feedback"]) == (True, "class")
    assert len(read(client, days=90)["days"]) == 3
    assert read(client, wrong=0)["wrong"] == []
    assert read(client, version=2)["days"] == []


def test_numbers_have_a_mean_error_and_the_largest_come_first(client: FlaskClient, ledger: Ledger) -> None:
    """Nobody is right or wrong about them."""
    for number, truth in enumerate((1.0, -3.0, None)):
        tell(ledger, number, NOON, truth, model=HALF_PLUS, right=None)
    found = read(client, HALF_PLUS)
    (day,) = found["days"]
    assert (day["numbers"], day["mean_error"], day["unlabelled"], day["right"], day["wrong"]) == (2, 2.0, 1, 0, 0)
    assert [one["label"] for one in found["wrong"]] == [-3.0, 1.0]
    assert (found["captured"], found["feedback"], found["versions"]) == (False, "number", [])


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("days=0", "days: received '0', allowed: 1 to 90"),
        ("days=x", "days: received 'x'"),
        ("days=1&days=2", "days: expected once"),
        ("wrong=51", "wrong: received '51', allowed: 0 to 50"),
        ("version=0", "version: received '0'"),
        ("since=now", "unknown parameter 'since'"),
    ],
)
def test_a_query_that_means_nothing_is_refused(client: FlaskClient, query: str, text: str) -> None:
    """With what is allowed."""
    refused = client.get(f"/api/models/{REVIEWS}/feedback?{query}")
    assert (refused.status_code, text in refused.json["error"]) == (400, True), refused.json


def test_a_model_that_is_not_there_is_404(client: FlaskClient) -> None:
    """As everywhere."""
    assert client.get("/api/models/none/feedback").status_code == 404
