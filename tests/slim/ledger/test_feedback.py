"""Feedback: predictions are captured where a setting says so, and joined to their labels."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient

from modelyard.models.registry.store import Store
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.ledger import Ledger
from modelyard.services.ledger.feedback import (
    AlreadyRecorded,
    CapturedPrediction,
    Feedback,
    UnknownPrediction,
    limit_shares,
)
from tests.support.fakes import DIGITS, HALF_PLUS, REVIEWS, FakeModelServer, encoded

NOW = datetime.now(UTC)


@pytest.fixture
def settings(filled: Store, server: FakeModelServer, ledger_url: str) -> GatewaySettings:
    return GatewaySettings(
        store=filled.root,
        serving=(server.address,),
        ledger_url=ledger_url,
        captured_models=(DIGITS, HALF_PLUS),
    )


@pytest.fixture
def feedback(ledger: Ledger) -> Feedback:
    return ledger.feedback


def flush_captures(app: Flask) -> None:
    app.extensions["predictor"].capture.close()


# --- what is captured -------------------------------------------------------------------------------------------------


def test_an_image_is_captured_as_it_came_with_its_prediction(
    app: Flask, client: FlaskClient, feedback: Feedback
) -> None:
    """By the id of its request."""
    picture = encoded("PNG")
    answer = client.post(
        f"/v1/models/{DIGITS}:predict", data=picture, content_type="image/png", headers={"X-Request-Id": "one"}
    )
    flush_captures(app)
    kept = feedback.get_prediction("one")
    assert (kept.model, kept.version, kept.input, kept.dtype) == (DIGITS, 1, "image_bytes", "bytes")
    assert kept.content == picture
    assert (kept.predicted, kept.score) == (answer.json["class_id"], pytest.approx(answer.json["score"]))


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (f"/v1/models/{HALF_PLUS}:predict", {"instances": [[3.0], [5.0]]}),
        (
            f"/v2/models/{HALF_PLUS}/infer",
            {"inputs": [{"name": "vectors", "shape": [2, 1], "datatype": "FP32", "data": [3, 5]}]},
        ),
        (f"/v1/models/{HALF_PLUS}:predict", {"inputs": {"vectors": [[3.0], [5.0]]}}),
    ],
)
def test_rows_are_captured_one_by_one_in_both_protocols(
    app: Flask, client: FlaskClient, feedback: Feedback, path: str, body: Any
) -> None:
    """With their numbers."""
    answer = client.post(path, json=body)
    flush_captures(app)
    kept = [feedback.get_prediction(answer.headers["X-Request-Id"], row) for row in (0, 1)]
    assert [float(np.frombuffer(each.content, each.dtype).reshape(each.shape)[0]) for each in kept] == [3, 5]
    assert [each.predicted for each in kept] == [3 / 2 + 2, 5 / 2 + 2]


def test_nothing_is_captured_of_other_models_or_of_a_refused_request(app: Flask, client: FlaskClient) -> None:
    """It has to be switched on, by model."""
    review = client.post(f"/v1/models/{REVIEWS}:predict", data="good", content_type="text/plain")
    wrong = client.post(f"/v1/models/{HALF_PLUS}:predict", json={"instances": ["x"]})
    flush_captures(app)
    for answer in (review, wrong):
        response = client.post("/api/feedback", json={"request_id": answer.headers["X-Request-Id"], "label": 1})
        assert response.status_code == 404, response.json


def test_a_rate_of_nothing_keeps_nothing(
    filled: Store, server: FakeModelServer, settings: GatewaySettings, feedback: Feedback
) -> None:
    """Sampling is by request."""
    from modelyard.services.gateway.wsgi import create_app

    app = create_app(settings.model_copy(update={"capture_rate": 0.0}))
    answer = app.test_client().post(f"/v1/models/{HALF_PLUS}:predict", json={"instances": [[3.0]]})
    app.extensions["predictor"].close()
    assert (answer.status_code, len(server.calls), filled.models()[0]) == (200, 1, DIGITS)
    with pytest.raises(UnknownPrediction):
        feedback.get_prediction(answer.headers["X-Request-Id"])


def answer_of(number: int, *, at: datetime = NOW, version: int = 1) -> CapturedPrediction:
    return CapturedPrediction(
        f"id-{number}", 0, HALF_PLUS, version, "vectors", "float32", (1,), np.float32(number).tobytes(), 1.0, None, at
    )


def test_old_captured_predictions_and_those_beyond_a_size_are_deleted(feedback: Feedback) -> None:
    """The oldest first."""
    feedback.capture([answer_of(0, at=NOW - timedelta(days=9)), *(answer_of(number) for number in range(1, 11))])
    feedback.prune(NOW - timedelta(days=7), max_bytes=5 * 4)
    assert [number for number in range(11) if is_captured(feedback, number)] == [6, 7, 8, 9, 10]


def is_captured(feedback: Feedback, number: int) -> bool:
    try:
        feedback.get_prediction(f"id-{number}")
    except UnknownPrediction:
        return False
    return True


def test_an_id_stands_for_the_first_prediction_that_had_it(feedback: Feedback) -> None:
    """Callers choose ids, and may choose one twice."""
    feedback.capture([answer_of(1)])
    feedback.capture([replace(answer_of(2), request_id="id-1")])
    assert feedback.get_prediction("id-1") == answer_of(1)


# --- what is true -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("label", "right"), [("light", True), (1, True), ("dark", False), (0, False)])
def test_a_label_tells_whether_the_prediction_was_right(
    app: Flask, client: FlaskClient, feedback: Feedback, label: object, right: bool
) -> None:
    """By name or by number; a picture in PNG is light to the fake model."""
    answer = client.post(f"/v1/models/{DIGITS}:predict", data=encoded("PNG"), content_type="image/png")
    flush_captures(app)
    response = client.post("/api/feedback", json={"request_id": answer.headers["X-Request-Id"], "label": label})
    assert (response.status_code, response.json) == (201, {"model": DIGITS, "version": 1, "right": right})
    assert feedback.count_mistakes(DIGITS, NOW - timedelta(days=1)) == {1: (1, 0 if right else 1)}


def test_a_number_is_neither_right_nor_wrong(app: Flask, client: FlaskClient, feedback: Feedback) -> None:
    """It is stored for training."""
    answer = client.post(f"/v1/models/{HALF_PLUS}:predict", json={"instances": [[3.0], [5.0]]})
    flush_captures(app)
    response = client.post(
        "/api/feedback", json={"request_id": answer.headers["X-Request-Id"], "row": 1, "value": 4.25}
    )
    assert response.json == {"model": HALF_PLUS, "version": 2, "right": None}
    assert feedback.count_mistakes(HALF_PLUS, NOW - timedelta(days=1)) == {}
    (example,) = feedback.list_examples(HALF_PLUS, 10)
    assert (example.truth, example.client) == (4.25, "127.0.0.1")


@pytest.mark.parametrize(
    ("said", "status", "text"),
    [
        ({"label": "grey"}, 400, "label: received 'grey', allowed: dark, light, or 0 to 1"),
        ({"label": 2}, 400, "label: received 2, allowed"),
        ({"value": 1.0}, 400, "label: received 1.0, allowed"),
        ({}, 400, "expected one of label and value"),
        ({"label": 1, "value": 1.0}, 400, "expected one of label and value"),
        ({"label": 1, "row": 7}, 404, "row 7, was captured"),
        ({"label": 1, "request_id": "another"}, 404, "no prediction 'another'"),
        ({"label": 1, "request_id": ""}, 400, "field 'request_id'"),
        ({"label": 1, "url": "x"}, 400, "field 'url'"),
    ],
)
def test_feedback_that_cannot_be_is_refused(
    app: Flask, client: FlaskClient, said: dict[str, Any], status: int, text: str
) -> None:
    """With the field, and what it may be."""
    client.post(f"/v1/models/{DIGITS}:predict", data=encoded("PNG"), content_type="image/png", headers=ID)
    flush_captures(app)
    response = client.post("/api/feedback", json={"request_id": "one", **said})
    assert (response.status_code, text in response.json["error"]) == (status, True), response.json


ID = {"X-Request-Id": "one"}


def test_a_prediction_has_feedback_once(app: Flask, client: FlaskClient) -> None:
    """Whoever comes second is 409."""
    client.post(f"/v1/models/{DIGITS}:predict", data=encoded("PNG"), content_type="image/png", headers=ID)
    flush_captures(app)
    first, second = (client.post("/api/feedback", json={"request_id": "one", "label": n}) for n in (0, 1))
    assert (first.status_code, second.status_code) == (201, 409)
    assert "has feedback already" in second.json["error"]


def test_the_data_behind_a_prediction_can_be_looked_up(app: Flask, client: FlaskClient) -> None:
    """By the id of its request."""
    client.post(f"/v1/models/{DIGITS}:predict", data=encoded("PNG"), content_type="image/png", headers=ID)
    flush_captures(app)
    made = client.get("/api/answers/one").json
    assert (made["model"], made["version"], made["predicted"], made["data"]["fingerprint"]) == (
        DIGITS,
        1,
        "light",
        "0" * 64,
    )
    assert client.get("/api/answers/two").status_code == 404


# --- examples ---------------------------------------------------------------------------------------------------------


def test_examples_have_the_newest_label_of_each_input(feedback: Feedback) -> None:
    """Oldest first, up to a number."""
    for number in range(5):
        again = replace(answer_of(number), content=np.float32(number % 4).tobytes())
        feedback.capture([again])
        feedback.record_truth(again, float(number), right=None, client="ann")
    assert [example.truth for example in feedback.list_examples(HALF_PLUS, 10)] == [1, 2, 3, 4]
    assert [example.truth for example in feedback.list_examples(HALF_PLUS, 2)] == [3, 4]
    assert feedback.list_examples(HALF_PLUS, 10, until=NOW) == ()
    assert feedback.count(HALF_PLUS) == 5
    assert feedback.count(HALF_PLUS, datetime.now(UTC)) == 0
    with pytest.raises(AlreadyRecorded):
        feedback.record_truth(again, 1.0, right=None, client="bob")


def test_no_client_says_more_than_a_share(feedback: Feedback) -> None:
    """The first labels that they sent are stored."""
    for number in range(10):
        feedback.capture([answer_of(number)])
        feedback.record_truth(
            answer_of(number), float(number), right=None, client="ann" if number < 8 else f"c{number}"
        )
    kept = [example.truth for example in limit_shares(feedback.list_examples(HALF_PLUS, 100), share=0.3, free=0)]
    assert kept == [0, 1, 2, 8, 9]
    assert len(list(limit_shares(feedback.list_examples(HALF_PLUS, 100), share=0.3, free=7))) == 9


def test_mistakes_count_from_the_trials_beginning(feedback: Feedback) -> None:
    """An answer of before, and feedback on it, say nothing of the trial."""
    for number, at in enumerate((NOW - timedelta(hours=2), NOW)):
        feedback.capture([answer_of(number, at=at, version=3)])
        feedback.record_truth(answer_of(number, version=3), 1.0, right=False, client="ann")
    assert feedback.count_mistakes(HALF_PLUS, NOW - timedelta(hours=1)) == {3: (1, 1)}
