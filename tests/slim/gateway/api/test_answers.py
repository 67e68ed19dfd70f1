"""Captured predictions to be labelled: which come first, what they show, and which labels count."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient

from modelyard.models.registry.rollout import Canary, change_rollout
from modelyard.models.registry.store import Store
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.ledger import Ledger
from modelyard.services.ledger.feedback import CapturedPrediction
from tests.support.fakes import DIGITS, HALF_PLUS, REVIEWS, FakeModelServer, encoded, publish

NOW = datetime.now(UTC)
ANSWERS = f"/api/models/{REVIEWS}/answers"


@pytest.fixture
def settings(filled: Store, server: FakeModelServer, ledger_url: str) -> GatewaySettings:
    captured = (DIGITS, REVIEWS, HALF_PLUS)
    return GatewaySettings(
        store=filled.root, serving=(server.address,), ledger_url=ledger_url, captured_models=captured
    )


def review(number: int, *, text: str = "", margin: float | None = None, version: int = 1) -> CapturedPrediction:
    content = (text or f"review {number}").encode()
    score = None if margin is None else (1 + margin) / 2
    return CapturedPrediction(
        f"id-{number}", 0, REVIEWS, version, "text", "bytes", (), content, 0.0, score, NOW, margin=margin
    )


@pytest.fixture
def reviews(ledger: Ledger) -> list[CapturedPrediction]:
    """A hundred, each a little surer than the one before."""
    found = [review(number, margin=number / 100) for number in range(100)]
    ledger.feedback.capture(found)
    return found


def list_answers(client: FlaskClient, **query: Any) -> list[dict[str, Any]]:
    response = client.get(ANSWERS, query_string=query)
    assert response.status_code == 200, response.json
    return list(response.json["answers"])


# --- which come first -------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("reviews")
def test_the_unsurest_predictions_come_first(client: FlaskClient) -> None:
    """By the margin between the likeliest class and the next; each says what the model said, and to what."""
    found = list_answers(client, order="margin", limit=10)
    margins = [one["margin"] for one in found]
    assert len(found) == 10
    assert margins == sorted(margins)
    assert margins[-1] < 0.3
    first = found[0]
    assert (first["predicted"], first["label"], first["version"]) == ("negative", None, 1)
    assert first["inputs"] == [
        {"name": "", "title": "text", "kind": "text", "value": f"review {first['request_id'][3:]}", "picture": None}
    ]


@pytest.mark.usefixtures("reviews")
def test_what_is_drawn_at_random_is_never_taken_for_another_reason(client: FlaskClient) -> None:
    """Half are set aside for it, whatever their margins: labels of the unsure ones leave the sample as it was."""
    drawn = {one["request_id"] for _ in range(20) for one in list_answers(client, order="random", limit=50)}
    chosen = {one["request_id"] for one in list_answers(client, order="margin", limit=50)}
    assert drawn.isdisjoint(chosen)
    assert len(drawn | chosen) == 100
    assert 40 <= len(drawn) <= 60
    assert abs(np.mean([int(name[3:]) for name in drawn]) - 49.5) < 5
    first = [tuple(one["request_id"] for one in list_answers(client, order="random", limit=5)) for _ in range(5)]
    assert len(set(first)) > 1


def test_predictions_that_canary_and_stable_differ_on_are_listed(
    client: FlaskClient, filled: Store, ledger: Ledger, server: FakeModelServer
) -> None:
    """The one that did not answer is asked now; of equal answers nothing is listed."""
    version = publish(filled, REVIEWS, stable=False)
    server.loaded.add((REVIEWS, version))
    canary = Canary(version=version, percent=10, since=NOW)
    change_rollout(filled, REVIEWS, lambda now: now.start_canary(canary, by="t", reason="r"))
    ledger.feedback.capture([review(number, text="good" if number % 2 else "bad", margin=0.5) for number in range(20)])
    found = list_answers(client, order="disagreement")
    assert found
    assert {(one["inputs"][0]["value"], one["predicted"]) for one in found} == {("good", "negative")}
    assert {(one["other"]["version"], one["other"]["predicted"]) for one in found} == {(version, "positive")}


def test_without_a_second_version_there_is_nothing_to_differ(client: FlaskClient) -> None:
    """Said, not an empty list."""
    response = client.get(ANSWERS, query_string={"order": "disagreement"})
    assert response.status_code == 409
    assert "neither a canary nor a shadow" in response.json["error"]


@pytest.mark.parametrize(
    ("query", "status", "text"),
    [
        ("order=best", 400, "order: received 'best', allowed: random"),
        ("limit=51", 400, "limit: received '51', allowed: 1 to 50"),
        ("limit=x", 400, "limit: received 'x'"),
        ("limit=1&limit=2", 400, "limit: expected once"),
        ("unlabelled=1", 400, "unlabelled: received '1', allowed: true, false"),
        ("page=1", 400, "unknown parameter 'page'"),
    ],
)
def test_a_list_that_cannot_be_is_refused(client: FlaskClient, query: str, status: int, text: str) -> None:
    """With what is allowed."""
    response = client.get(f"{ANSWERS}?{query}")
    assert (response.status_code, text in response.json["error"]) == (status, True), response.json


def test_a_model_that_is_not_there_has_no_answers(client: FlaskClient) -> None:
    """404."""
    assert client.get("/api/models/none/answers").status_code == 404


# --- what they show ---------------------------------------------------------------------------------------------------


def test_a_picture_is_shown_as_it_came(client: FlaskClient) -> None:
    """Pixels become a PNG, so that people see them, too."""
    picture = encoded("PNG")
    client.post(f"/v1/models/{DIGITS}:predict", data=picture, content_type="image/png")
    client.post(f"/v1/models/{DIGITS}:predict", json={"instances": [np.full((28, 28, 1), 200).tolist()]})
    found = client.get(f"/api/models/{DIGITS}/answers?order=newest&unlabelled=false").json["answers"]
    shown = [client.get(one["inputs"][0]["picture"]) for one in found]
    assert [one.content_type for one in shown] == ["image/png"] * 2
    assert shown[1].data == picture
    assert shown[0].data.startswith(b"\x89PNG")
    assert found[1]["margin"] == pytest.approx(0.5)
    asked = found[0]["request_id"]
    assert client.get(f"/api/answers/{asked}/input?name=other").status_code == 404
    assert client.get(f"/api/answers/{asked}/input?row=x").status_code == 400
    assert client.get("/api/answers/unknown/input").status_code == 404


def test_numbers_are_shown_and_have_no_margin(client: FlaskClient) -> None:
    """A label is a number, too."""
    client.post(f"/v1/models/{HALF_PLUS}:predict", json={"instances": [[3.0]]})
    found = client.get(f"/api/models/{HALF_PLUS}/answers?order=newest&unlabelled=false").json
    assert (found["feedback"], found["classes"], found["captured"]) == ("number", [], True)
    assert found["answers"][0]["inputs"][0]["value"] == [3.0]
    assert client.get(f"/api/models/{HALF_PLUS}/answers?order=margin").status_code == 400


# --- which labels count -----------------------------------------------------------------------------------------------


def test_only_labels_that_were_drawn_say_how_good_a_version_is(
    client: FlaskClient, ledger: Ledger, reviews: list[CapturedPrediction]
) -> None:
    """Those of unsure predictions are mostly wrong: they train the next version, and judge none."""
    drawn = [one["request_id"] for one in list_answers(client, order="random", limit=10)]
    unsure = [one["request_id"] for one in list_answers(client, order="margin", limit=20)]
    for number, asked in enumerate(drawn):
        label(client, asked, "positive" if number < 2 else "negative", "random")
    for asked in unsure:
        label(client, asked, "positive", "margin")
    label(client, next(r.request_id for r in reviews if r.request_id not in {*drawn, *unsure}), "positive", "hand")
    found = client.get(ANSWERS).json
    assert found["labels"] == {"random": 10, "margin": 20, "hand": 1}
    assert found["unlabelled"] == 69
    (estimate,) = found["estimates"]
    assert (estimate["version"], estimate["labels"], estimate["right"], estimate["accuracy"]) == (1, 10, 8, 0.8)
    assert (estimate["low"], estimate["high"]) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))
    yesterday = NOW - timedelta(days=1)
    assert ledger.feedback.count_mistakes(REVIEWS, yesterday) == {1: (10, 2)}
    assert ledger.feedback.count_correct(REVIEWS, 1, 100) == (8, 10)
    assert len(ledger.feedback.list_examples(REVIEWS, 100)) == 31


def label(client: FlaskClient, asked: str, name: str, chosen: str) -> None:
    body = {"request_id": asked, "label": name, "chosen": chosen}
    assert client.post("/api/feedback", json=body).status_code == 201


def test_feedback_without_a_reason_counts_as_before(
    client: FlaskClient, ledger: Ledger, reviews: list[CapturedPrediction]
) -> None:
    """A client that sends what came to light has chosen nothing; another word for it is refused."""
    body = {"request_id": reviews[0].request_id, "label": "positive"}
    assert client.post("/api/feedback", json=body | {"chosen": "lucky"}).status_code == 400
    assert client.post("/api/feedback", json=body).status_code == 201
    assert ledger.feedback.count_mistakes(REVIEWS, NOW - timedelta(days=1)) == {1: (1, 1)}


@pytest.mark.usefixtures("reviews")
@pytest.mark.parametrize(
    ("order", "said", "text"),
    [("margin", "random", "not of the half that is drawn from"), ("random", "margin", "kept for drawing at random")],
)
def test_what_was_not_listed_so_cannot_be_said_to_be(client: FlaskClient, order: str, said: str, text: str) -> None:
    """One label in the wrong half, and the sample would be none."""
    asked = list_answers(client, order=order, limit=1)[0]["request_id"]
    body = {"request_id": asked, "label": "positive"}
    refused = client.post("/api/feedback", json=body | {"chosen": said})
    assert (refused.status_code, text in refused.json["error"]) == (400, True)
    assert client.post("/api/feedback", json=body | {"chosen": "hand"}).status_code == 201


# --- whether a request is captured ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rate", "said", "kept"), [(1.0, "no", 0), (0.0, "yes", 1), (1.0, "perhaps", 1), (0.0, "", 0)])
def test_a_client_can_ask_for_a_prediction_to_be_captured_or_not(
    app: Flask, client: FlaskClient, rate: float, said: str, kept: int
) -> None:
    """Half a drawing is no example of what people draw; what somebody is about to correct is."""
    app.extensions["predictor"].capture.rate = rate
    headers = {"X-Capture": said} if said else {}
    client.post(f"/v1/models/{REVIEWS}:predict", data="good", content_type="text/plain", headers=headers)
    assert client.get(f"{ANSWERS}?order=newest&unlabelled=false").json["unlabelled"] == kept
    assert client.get(f"/api/models/{REVIEWS}").json["capture"] == {"on": True, "rate": rate}
