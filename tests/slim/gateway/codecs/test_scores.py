"""``?labels=scores``: rows in words with every label's score, whatever the model answers with."""

import json
from typing import Any

import pytest
from flask.testing import FlaskClient

from modelyard.models.registry.store import Store
from tests.support.fakes import HALF_PLUS, FakeModelServer
from tests.support.named_models import CHURN, ROW, SIZES, TAGS, WRITER, serve


@pytest.mark.parametrize(
    ("model", "row", "expected"),
    [
        (CHURN, ROW, {"label": "yes", "class_id": 1, "score": 0.9, "scores": {"no": 0.1, "yes": 0.9}}),
        (
            TAGS,
            "army",
            {"labels": [{"label": "war", "score": 0.95}], "scores": {"action": 0.05, "comedy": 0.05, "war": 0.95}},
        ),
        (SIZES, [1, 2, 3], {"values": {"width": 2.0, "height": 4.0}}),
        (WRITER, "a", {"text": "<a>"}),
        (HALF_PLUS, [1.0], {"outputs": {"value": [2.5]}}),
    ],
)
def test_any_row_has_words_and_scores_on_request(
    client: FlaskClient, filled: Store, server: FakeModelServer, model: str, row: Any, expected: Any
) -> None:
    """Outputs by name where there are no words, which ``?labels=true`` refuses; in lines, too."""
    if model != HALF_PLUS:
        serve(filled, server, model)
    path = f"/v1/models/{model}:predict?labels=scores"
    assert client.post(path, json={"instances": [row, row]}).json == {"predictions": [expected, expected]}
    lines = client.post(path, data=json.dumps(row), content_type="application/jsonl").text
    assert json.loads(lines) == expected
