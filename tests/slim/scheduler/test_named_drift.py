"""Drift of named inputs: captured by the gateway, compared with what a version was evaluated on."""

import io
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image

from modelyard.models.registry.inputs.captured_input import DTYPE, encode_row
from modelyard.models.registry.reference import Reference, Shares, build_reference, count_shares, extract_features
from modelyard.models.registry.store import Store
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.ledger import Ledger
from modelyard.services.ledger.feedback import CapturedPrediction
from modelyard.services.scheduler.drift import MIN_ANSWERS, measure_shifts
from tests.support.fakes import FakeModelServer
from tests.support.named_models import CHURN, MANIFESTS, PAIR, ROW, SIZES, TAGS, WRITER, serve
from tests.support.versions import seal_as

KINDS = {"age": "number", "plan": "category", "since": "date"}
GENERATOR = np.random.default_rng(0)
MODELS = (CHURN, TAGS, SIZES, WRITER)


def rows(ages: Any, plans: Any) -> list[dict[str, Any]]:
    """As a dataset lists them."""
    return [
        {"age": np.float32(age), "plan": plan, "since": "2026-11-29"} for age, plan in zip(ages, plans, strict=True)
    ]


def captured(inputs: dict[str, Any], model: str = CHURN) -> list[CapturedPrediction]:
    """Each row of these tensors."""
    count = len(next(iter(inputs.values())))
    return [
        CapturedPrediction(
            f"id-{row}", 0, model, 1, "", DTYPE, (), encode_row(inputs, row), 1.0, 0.9, datetime.now(UTC)
        )
        for row in range(count)
    ]


def tensors(ages: Any, plans: Any) -> dict[str, Any]:
    return {
        "age": np.array(ages, np.float32),
        "plan": np.array([plan.encode() for plan in plans], object),
        "since": np.array([b"2026-11-29"] * len(ages), object),
    }


@pytest.fixture
def reference() -> Reference:
    ages = GENERATOR.normal(40, 5, 1000)
    plans = GENERATOR.choice(["basic", "gold"], 1000)
    outputs = {"class_id": np.ones(1000, int), "score": np.full(1000, 0.9)}
    return build_reference(("no", "yes"), rows(ages, plans), outputs, KINDS)


def shift(reference: Reference, ages: Any, plans: Any) -> dict[str, float]:
    manifest = seal_as(CHURN, **MANIFESTS[CHURN])(1, {})
    found = measure_shifts(reference, captured(tensors(ages, plans)), manifest)
    return {name: moved.psi for name, moved in found.items()}


def test_what_stays_as_it_was_is_no_drift(reference: Reference) -> None:
    """Of a number, a category and a date."""
    found = shift(reference, GENERATOR.normal(40, 5, 500), GENERATOR.choice(["basic", "gold"], 500))
    assert set(found) == {"input age", "input plan", "input since", "answer class", "answer score"}
    assert max(found.values()) < 0.1


def test_a_category_that_was_never_seen_is_drift(reference: Reference) -> None:
    """As is another share of those that were, and a missing one."""
    ages = GENERATOR.normal(40, 5, 500)
    for plans in (["basic", "gold", "free", "gold"], ["gold"], ["basic", "gold", "", ""]):
        assert shift(reference, ages, (plans * 500)[:500])["input plan"] > 0.25
    assert shift(reference, ages, ["basic", "gold"] * 250)["input age"] < 0.1


def test_numbers_that_are_missing_are_drift(reference: Reference) -> None:
    """Where few were, and the others are as before."""
    ages = GENERATOR.normal(40, 5, 500)
    ages[::4] = np.nan
    assert shift(reference, ages, ["basic", "gold"] * 250)["input age"] > 0.25


def test_a_reference_survives_its_file(reference: Reference) -> None:
    """With categories and counts of missing values."""
    assert Reference.model_validate_json(reference.model_dump_json()) == reference
    assert reference.histograms["input age"].missing
    assert len(reference.histograms["input age"].counts) == len(reference.histograms["input age"].edges) + 2
    assert reference.shares["input plan"].values in (("basic", "gold"), ("gold", "basic"))


def test_only_the_commonest_values_are_counted_by_themselves() -> None:
    """The rest together, and missing ones."""
    values = [f"v{number}" for number in range(1000) for _ in range(2 if number < 10 else 1)] + [""] * 7
    found = count_shares(values)
    assert found.values[:10] == tuple(f"v{number}" for number in range(10))
    assert len(found.values) == 50
    assert found.counts[-2:] == (950, 7)
    assert Shares(values=("a",), counts=()).count(["a", "b", "", "c"]) == (1, 2, 1)


def test_features_follow_the_kinds_of_inputs() -> None:
    """A sequence is no image, and a date that is missing no number."""
    row = {"steps": np.arange(6.0).reshape(3, 2), "since": "", "note": "two words", "plan": "gold"}
    kinds = {"steps": "sequence", "since": "date", "note": "text", "plan": "category"}
    found = extract_features(row, kinds)
    assert (found["steps steps"], found["steps mean"], found["plan"]) == (3, 2.5, "gold")
    assert (found["note words"], np.isnan(found["since"])) == (2, True)
    assert extract_features("gold", {"": "category"}) == {"value": "gold"}


def test_images_among_named_inputs_are_measured_in_their_channels() -> None:
    """Decoded as the model sees them."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 200, 200)).save(file, "PNG")
    count = MIN_ANSWERS
    inputs = {
        "photo_bytes": np.array([file.getvalue()] * count, object),
        "caption": np.array([b"a cat"] * count, object),
        "weights": np.ones((count, 3), np.float32),
    }
    dark = {"photo": np.zeros((2, 2, 3), np.uint8), "caption": "a cat", "weights": np.ones(3)}
    known = build_reference((), [dark] * 300, {}, {"photo": "image", "caption": "text", "weights": "vector"})
    found = measure_shifts(known, captured(inputs, PAIR), seal_as(PAIR, **MANIFESTS[PAIR])(1, {}))
    assert found["input photo brightness"].psi > 1
    assert found["input caption words"].psi < 0.1
    assert found["input weights number 0"].psi < 0.1


# --- through the gateway ----------------------------------------------------------------------------------------------


@pytest.fixture
def settings(filled: Store, server: FakeModelServer, ledger_url: str) -> GatewaySettings:
    serve(filled, server, *MODELS)
    return GatewaySettings(store=filled.root, serving=(server.address,), ledger_url=ledger_url, captured_models=MODELS)


def ask(client: FlaskClient, model: str, instance: Any) -> str:
    """The id of the request."""
    answer = client.post(f"/v1/models/{model}:predict", json={"instances": [instance]})
    assert answer.status_code == 200
    return answer.headers["X-Request-Id"]


def test_named_inputs_are_captured_and_get_feedback(client: FlaskClient, ledger: Ledger) -> None:
    """Every input, with its missing values; the truth is joined as to any other."""
    identity = ask(client, CHURN, ROW | {"city": None, "tenure_months": None})
    said = client.post("/api/feedback", json={"request_id": identity, "label": "no"})
    assert (said.status_code, said.json["right"]) == (201, False)
    (example,) = ledger.feedback.list_examples(CHURN, 10)
    assert (example.answer.dtype, example.answer.predicted, example.truth) == (DTYPE, 1.0, 0.0)
    assert b'"city":"","petal_length_cm":1.5,"plan":"gold","since":"2026-11-29"' in example.answer.content
    assert b'"tenure_months":null' in example.answer.content


@pytest.mark.parametrize(
    ("model", "instance", "predicted"), [(TAGS, "the army", "war"), (SIZES, [1, 2, 3], 2.0), (WRITER, "abc", 5.0)]
)
def test_what_is_no_one_class_or_number_is_captured_and_takes_no_feedback(
    client: FlaskClient, model: str, instance: Any, predicted: str | float
) -> None:
    """The likeliest label, the first number, the length of a text; 400 says why."""
    identity = ask(client, model, instance)
    assert client.get(f"/api/answers/{identity}").json["predicted"] == predicted
    said = client.post("/api/feedback", json={"request_id": identity, "value": 1.0})
    assert said.status_code == 400
    assert "feedback is one class or one number" in said.json["error"]
