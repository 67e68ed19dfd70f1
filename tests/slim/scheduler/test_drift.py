"""Drift: requests and outputs, compared with those that a version was evaluated on."""

import io
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image

from modelyard.models.registry import reference
from modelyard.models.registry.reference import (
    MAX_NUMBERS,
    Histogram,
    Reference,
    build_reference,
    extract_features,
    quantile_histogram,
)
from modelyard.models.registry.store import Store
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.ledger import Ledger
from modelyard.services.ledger.feedback import CapturedPrediction
from modelyard.services.scheduler.drift import MIN_ANSWERS, check_drift, measure_shift, measure_shifts
from modelyard.services.triggers import is_significant
from tests.support.fakes import DIGITS, HALF_PLUS, REVIEWS, FakeModelServer
from tests.support.versions import seal_as

NOW = datetime.now(UTC)
GENERATOR = np.random.default_rng(0)
HALF_PLUS_MANIFEST = seal_as(HALF_PLUS)(1, {})


# --- the reference ----------------------------------------------------------------------------------------------------


def test_bins_hold_about_equally_many_and_other_values_fall_into_the_same() -> None:
    """The outer bins have no end."""
    found = build_reference((), [np.array([x]) for x in range(1000)], {"value": np.arange(1000.0)})
    histogram = found.histograms["input number 0"]
    assert histogram.counts == (100,) * 10
    assert histogram.count(np.array([-5.0, 99999.0, 150.0])) == (1, 1, 0, 0, 0, 0, 0, 0, 0, 1)


def test_classes_have_a_bin_each() -> None:
    """Also those that never occur."""
    outputs = {"class_id": np.array([0, 2, 2]), "score": np.array([0.5, 0.9, 0.9])}
    found = build_reference(("a", "b", "c"), ["one", "two words", "x"], outputs)
    assert found.histograms["answer class"].counts == (1, 0, 2)
    assert set(found.histograms) == {"input characters", "input words", "answer class", "answer score"}


@pytest.mark.parametrize("constant", [3.0, 0.0, -0.1, 1e9])
def test_a_value_that_never_changes_has_a_bin_of_its_own(constant: float) -> None:
    """In whichever precision it comes again; what is smaller or larger has another one."""
    found = build_reference((), [np.array([constant])] * 5, {"value": np.full(5, 7.0)})
    histogram = found.histograms["input number 0"]
    assert histogram.counts == (0, 5, 0)
    assert histogram.count(np.array([np.float32(constant), constant - 1e4, constant + 1e4])) == (1, 1, 1)


@pytest.mark.parametrize(
    ("trained", "live"),
    [
        ([5.0] * 1000, np.linspace(13, 16, 300)),
        ([5.0] * 1000, np.linspace(4.99, 4.999, 300)),
        ([0.0] * 1000, np.ones(300)),
        ([0.0] * 950 + [1.0] * 50, np.ones(300)),
        ([0.0] * 500 + [1.0] * 500, np.full(300, 0.5)),
        ([7.0] * 850 + list(np.linspace(8, 9, 150)), np.linspace(7.1, 7.9, 300)),
        ([float("nan")] * 10 + [5.0] * 990, np.full(300, 6.0)),
    ],
)
def test_what_was_constant_or_nearly_so_in_training_and_moves_is_an_alarm(trained: list[float], live: Any) -> None:
    """Above the 0.25 that is worth a new model; and none while it stays as it was."""
    histogram = build_reference((), [], {"value": np.array(trained)}).histograms["answer value"]
    assert measure_shift(histogram, histogram.count(live)).psi > 1
    assert measure_shift(histogram, histogram.count(GENERATOR.choice(trained, 300).astype(np.float32))).psi < 0.1


def test_features_need_no_model() -> None:
    """Images as numbers of any type, texts, and vectors up to some length."""
    image = np.zeros((4, 4, 1), np.uint8)
    image[:2] = 255
    assert extract_features(image) == {"brightness": 127.5, "contrast": 127.5, "inked": 0.5}
    assert extract_features("two words") == {"characters": 9, "words": 2}
    assert extract_features(np.array(2.0)) == extract_features(np.array([2.0])) == {"number 0": 2.0}
    summary = {"mean": 1.5, "spread": 0.5, "smallest": 1.0, "largest": 2.0}
    assert extract_features(np.array([2.0, 1.0], np.float32)) == {"number 0": 2.0, "number 1": 1.0, **summary}


@pytest.mark.parametrize(("size", "moved"), [(17, 16), (256, 255), (257, 256), (3000, 2999), (3000, 17)])
def test_every_number_of_a_vector_is_watched(size: int, moved: int) -> None:
    """Whichever it is: by itself in a vector of up to 256 numbers, else in a part of it; their count has a bound."""
    trained, live = GENERATOR.normal(0, 1, (400, size)), GENERATOR.normal(0, 1, (300, size))
    live[:, moved] += 4 * (1 + size // MAX_NUMBERS)
    known = build_reference((), trained, {"value": np.zeros(400)})
    assert len(known.histograms) <= MAX_NUMBERS + 5
    answers = [
        CapturedPrediction(f"{i}", 0, HALF_PLUS, 1, "x", "float32", (size,), np.float32(x).tobytes(), 0.0, None, NOW)
        for i, x in enumerate(live)
    ]
    found = measure_shifts(known, answers, HALF_PLUS_MANIFEST)
    (largest,) = [name for name, shift in found.items() if shift.psi > 1 and name.startswith("input number")]
    first, _, last = largest.removeprefix("input numbers ").removeprefix("input number ").partition(" to ")
    assert int(first) <= moved <= int(last or first)


def test_a_summary_moves_where_all_numbers_move_a_little() -> None:
    """Each alone is nothing to speak of."""
    trained, live = GENERATOR.normal(0, 1, (2000, 100)), GENERATOR.normal(0.15, 1, (1000, 100))
    columns = [[extract_features(x) for x in rows] for rows in (trained, live)]
    means, seen = (np.array([row["mean"] for row in rows]) for rows in columns)
    histogram = quantile_histogram(means)
    assert measure_shift(histogram, histogram.count(seen)).psi > 0.5
    one = quantile_histogram(trained[:, 0])
    assert measure_shift(one, one.count(live[:, 0])).psi < 0.1


# --- shifts -----------------------------------------------------------------------------------------------------------


def test_the_index_is_that_of_the_books() -> None:
    """Half and half that has become one to three: 0.25 ln 1.5 - 0.25 ln 0.5 = 0.2747; equal shares: nothing."""
    half = Histogram(edges=(0.0,), counts=(100_000, 100_000))
    assert measure_shift(half, (50_000, 150_000)).psi == pytest.approx(0.2747, abs=1e-3)
    assert measure_shift(half, (500, 500)).psi == pytest.approx(0, abs=1e-3)
    assert measure_shift(half, (0, 100)).psi < 10


def answer(
    number: int, content: bytes, dtype: str, shape: tuple[int, ...], predicted: float, model: str
) -> CapturedPrediction:
    return CapturedPrediction(f"id-{number}", 0, model, 1, "x", dtype, shape, content, predicted, None, NOW)


@pytest.fixture
def settings(filled: Store, server: FakeModelServer, ledger_url: str) -> GatewaySettings:
    return GatewaySettings(
        store=filled.root, serving=(server.address,), ledger_url=ledger_url, captured_models=(HALF_PLUS,)
    )


def refer(store: Store, model: str, version: int, found: Reference) -> None:
    path = store.path(model, version) / reference.FILE
    path.write_text(found.model_dump_json())


def vectors(numbers: np.ndarray, version: int = 2) -> list[CapturedPrediction]:  # type: ignore[type-arg]  # of numbers
    return [
        CapturedPrediction(
            f"{version}-{i}", 0, HALF_PLUS, version, "x", "float32", (1,), np.float32(x).tobytes(), x / 2, None, NOW
        )
        for i, x in enumerate(numbers)
    ]


def test_a_shift_of_inputs_is_measured_and_in_the_api_and_the_metrics(
    filled: Store, ledger: Ledger, client: FlaskClient
) -> None:
    """Of the stable version's own answers; in the API and as a metric."""
    x = GENERATOR.normal(0, 1, 2000)
    refer(filled, HALF_PLUS, 2, build_reference((), [np.array([each]) for each in x], {"value": x / 2}))
    assert client.get(f"/api/models/{HALF_PLUS}/drift").json["shifts"] == {}
    ledger.feedback.capture(vectors(GENERATOR.normal(3, 1, 500), version=1))
    check_drift(filled, ledger)
    assert client.get(f"/api/models/{HALF_PLUS}/drift").json["answers"] == 0
    ledger.feedback.capture(vectors(GENERATOR.normal(0, 1, 500)))
    check_drift(filled, ledger)
    still = client.get(f"/api/models/{HALF_PLUS}/drift").json
    assert (still["version"], still["answers"]) == (2, 500)
    assert max(moved["psi"] for moved in still["shifts"].values()) < 0.1
    ledger.feedback.prune(NOW, 0)
    ledger.feedback.capture(vectors(GENERATOR.normal(1, 1, 500)))
    check_drift(filled, ledger)
    moved = client.get(f"/api/models/{HALF_PLUS}/drift").json["shifts"]
    assert min(moved[name]["psi"] for name in ("input number 0", "answer value")) > 0.25
    line = f'modelyard_drift_psi{{model="{HALF_PLUS}",series="input number 0",version="2"}}'
    assert line in client.get("/metrics").text


def test_of_many_histograms_chance_moves_some_and_starts_no_job() -> None:
    """A trigger asks for more evidence the more is looked at; without scipy nothing is known of chance."""
    assert not is_significant({"psi": 0.3, "p_value": 0.001}, count=260)
    assert is_significant({"psi": 0.3, "p_value": 0.001}, count=2)
    assert is_significant({"psi": 0.3, "p_value": 1e-9}, count=260)
    assert is_significant({"psi": 0.3, "p_value": None}, count=260)


def test_images_and_texts_are_measured_as_they_were_captured(filled: Store) -> None:
    """Files are decoded; too few answers say nothing."""
    file = io.BytesIO()
    Image.new("L", (56, 56), 200).save(file, "PNG")
    pictures = [answer(i, file.getvalue(), "bytes", (), 1.0, DIGITS) for i in range(MIN_ANSWERS)]
    dark = [np.full((28, 28, 1), 10 + k % 3, np.uint8) for k in range(300)]
    outputs = {"class_id": np.ones(300, int), "score": np.ones(300)}
    known = build_reference(("dark", "light"), dark, outputs)
    found = measure_shifts(known, pictures, filled.manifest(DIGITS, 1))
    assert found["input brightness"].psi > 1
    assert found["answer class"].psi < 0.01
    assert measure_shifts(known, pictures[1:], filled.manifest(DIGITS, 1)) == {}
    texts = [answer(i, b"good " * (i % 7 + 1), "bytes", (), 1.0, REVIEWS) for i in range(MIN_ANSWERS)]
    binary_reference = build_reference(("n", "p"), ["good " * (i % 7 + 1) for i in range(300)], outputs)
    assert measure_shifts(binary_reference, texts, filled.manifest(REVIEWS, 1))["input words"].psi < 0.05


def test_a_version_without_a_reference_is_left_alone(filled: Store, ledger: Ledger) -> None:
    """It was made by an earlier release; and a damaged one is a warning, not an end."""
    ledger.feedback.capture(vectors(GENERATOR.normal(0, 1, 300)))
    check_drift(filled, ledger)
    (filled.path(HALF_PLUS, 2) / reference.FILE).write_text("{")
    check_drift(filled, ledger)
    assert ledger.observations.list_drift() == ()
