"""The page of a version: what it shows of each task, and what it says where something is not there."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from modelyard.models.registry import evaluations, manifest
from modelyard.models.registry.manifest import CategoryLimits, ImportRecord, NamedLimits, NumberLimits
from modelyard.models.registry.store import Store
from modelyard.pipeline.results import (
    CalibrationBin,
    ClassCurves,
    Comparison,
    ConfusedPair,
    Curve,
    Evaluation,
    Mistake,
    Residuals,
)
from tests.support.fakes import DIGITS, HALF_PLUS, REVIEWS, data, publish
from tests.support.versions import DEFAULTS

BROWSER = {"Accept": "text/html"}
MARKUP = "<script>alert(1)</script>"
PNG = "iVBORw0KGgo="
CURVE = Curve(x=(0.0, 1.0), y=(0.0, 1.0), thresholds=(None, 0.5), area=0.75)
CLASSES = Evaluation(
    metrics={"accuracy": 0.9, "ece": 0.02},
    examples=10,
    per_class={
        "dark": {"precision": 1.0, "recall": 0.8, "f1": 0.889, "support": 5.0},
        "light": {"precision": 0.83, "recall": 1.0, "f1": 0.909, "support": 5.0},
    },
    confusion=[[4, 1], [0, 5]],
    confused=(ConfusedPair(expected="dark", received="light", count=1),),
    wrong=1,
    calibration=(CalibrationBin(confidence=0.8, accuracy=0.9, examples=10),),
    curves={"light": ClassCurves(positives=5, roc=CURVE, precision_recall=CURVE)},
    champion=Comparison(version=7, metrics={"accuracy": 0.8}, per_class={"dark": {"f1": 0.5}}, mended=3, broken=2),
    latency_ms={"1": 1.5},
    golden_difference=1e-7,
)
NUMBERS = Evaluation(
    metrics={"r2": 0.9, "mae": 1.5},
    examples=10,
    residuals={
        "value": Residuals(edges=(-1, 0, 1), counts=(4, 6), below=0, above=0, bias=0.25, points=((1, 2), (2, 2)))
    },
)


def write(evaluation: Evaluation, *mistakes: Mistake) -> Callable[[Path], None]:
    def prepare(staged: Path) -> None:
        (staged / evaluations.FILE).write_text(evaluation.model_dump_json(exclude={"reference"}))
        lines = b"".join(mistake.model_dump_json().encode() + b"\n" for mistake in mistakes)
        (staged / evaluations.MISTAKES_FILE).write_bytes(lines)

    return prepare


def make_mistake(given: Any, expected: Any = "dark", received: Any = "light") -> Mistake:
    return Mistake(example=3, expected=expected, received=received, score=0.97, input=given)


def show(client: FlaskClient, model: str, version: int, query: str = "") -> str:
    answer = client.get(f"/models/{model}/versions/{version}{query}", headers=BROWSER)
    assert answer.status_code == 200, answer.text
    assert "<script>alert" not in answer.text
    return answer.text


def test_a_cell_of_the_confusion_leads_to_its_pictures(client: FlaskClient, filled: Store) -> None:
    """Expected, received and score beside each; the chosen cell is in the address and marked."""
    version = publish(filled, DIGITS, prepare=write(CLASSES, make_mistake({"png": PNG})))
    page = show(client, DIGITS, version)
    (cell,) = re.findall(r'<a data-pick data-cell href="([^"]+)" aria-label="20.0 %: dark taken for light"', page)
    assert cell == "?expected=dark&amp;received=light#mistakes"
    assert f'src="data:image/png;base64,{PNG}"' in page
    chosen = show(client, DIGITS, version, "?expected=dark&received=light")
    assert "dark taken for light" in chosen
    assert 'aria-label="20.0 %: dark taken for light" aria-current="true"' in chosen
    assert "97.0 %" in chosen
    assert "None of this kind" in show(client, DIGITS, version, "?expected=light")
    assert "no label; there are dark, light" in show(client, DIGITS, version, "?expected=%3Cb%3E")


def test_everything_known_of_a_classifier_is_there(client: FlaskClient, filled: Store) -> None:
    """Curves, reliability, the serving version beside it, the gate's words, files."""
    version = publish(filled, DIGITS, prepare=write(CLASSES))
    page = show(client, DIGITS, version)
    for text in ("Reliability", "ROC of light", "Precision and recall of light", "AUC 0.7500", "Passed its gate"):
        assert text in page
    assert "3 examples that version 7 had wrong are right now; 2 that it had right are wrong now." in page
    assert re.search(r"\+0.1 better", page)
    assert "assets.extra/mistakes.jsonl" in page
    assert 'aria-sort="descending"' in show(client, DIGITS, version, "?sort=f1&order=down")


def test_texts_and_rows_are_shown_as_they_are(client: FlaskClient, filled: Store) -> None:
    """Markup in texts, labels and names of columns stays text; rows have their columns' own names."""
    labels = (MARKUP, "good")
    evaluation = CLASSES.model_copy(update={"per_class": {}, "confused": (), "confusion": [], "curves": {}})
    texts = publish(
        filled, REVIEWS, labels=labels, prepare=write(evaluation, make_mistake(f"so {MARKUP}", MARKUP, "good"))
    )
    assert "so &lt;script&gt;alert(1)" in show(client, REVIEWS, texts)
    columns = {"age": NumberLimits(title=MARKUP), "plan": CategoryLimits(title="Plan & price")}
    rows = publish(
        filled,
        HALF_PLUS,
        task="binary",
        input=NamedLimits(inputs=columns),
        labels=labels,
        prepare=write(evaluation, make_mistake({"age": None, "plan": MARKUP}, MARKUP, "good")),
    )
    page = show(client, HALF_PLUS, rows)
    assert '<th scope="col">&lt;script&gt;alert(1)' in page
    assert "Plan &amp; price" in page


def test_numbers_have_errors_in_place_of_a_confusion(client: FlaskClient, filled: Store) -> None:
    """Their histogram, and predicted against true."""
    version = publish(filled, HALF_PLUS, prepare=write(NUMBERS, make_mistake([1.0], 2.5, 9.25)))
    page = show(client, HALF_PLUS, version)
    for text in ("Predicted and true", "Predicted less true. Mean: 0.25.", "The largest errors", "9.25"):
        assert text in page
    assert "Confusion matrix" not in page


def test_a_thousand_classes_are_shown_by_the_commonest_pairs(client: FlaskClient, filled: Store) -> None:
    """No matrix, and no thousand rows until they are asked for."""
    labels = tuple(f"class {k}" for k in range(1000))
    pairs = tuple(
        ConfusedPair(expected=labels[k], received=labels[(k + 1) % 1000], count=1001 - k) for k in range(1000)
    )
    per_class = {label: {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2000.0} for label in labels}
    many = CLASSES.model_copy(update={"confusion": [], "confused": pairs, "per_class": per_class, "champion": None})
    version = publish(filled, DIGITS, task="multiclass", labels=labels, prepare=write(many))
    page = show(client, DIGITS, version)
    assert "1,001: class 0 taken for class 1" in page
    assert "950 more kinds are not shown" in page
    assert "Show 950 more" in page
    assert len(page) < 200_000
    assert "class 999" in show(client, DIGITS, version, "?classes=all")


def test_what_is_not_there_is_said(client: FlaskClient, filled: Store) -> None:
    """Sample data, no evaluation, imported without test data, and all that was deleted."""
    sample = show(client, REVIEWS, publish(filled, REVIEWS))
    assert "Trained on the sample" in sample
    assert "This version has no evaluation." in sample
    record = ImportRecord(path="/x", form="SavedModel", files={}, tensorflow="2", test=None)
    nothing: Mapping[str, Any] = {"data": None, "recipe": None, "training": None, "metrics": {}, "input": None}
    verdict = DEFAULTS["verdict"].model_copy(update={"metric": None, "value": None, "reasons": ("nothing measured",)})
    imported = publish(filled, HALF_PLUS, imported=record, verdict=verdict, **nothing)
    page = show(client, HALF_PLUS, imported)
    for text in ("Imported without test data", "Accepted without a measurement", "This version has no metrics."):
        assert text in page


def test_damage_is_said_where_it_is(client: FlaskClient, filled: Store) -> None:
    """A manifest: a page that says what to do; an evaluation, or its mistakes: all the rest is there."""
    version = publish(filled, DIGITS, prepare=write(CLASSES))
    folder = filled.path(DIGITS, version)
    (folder / evaluations.MISTAKES_FILE).write_bytes(b"{\n")
    page = show(client, DIGITS, version)
    assert "the file of mistakes is damaged" in page
    assert "Confusion matrix" in page
    (folder / evaluations.FILE).write_bytes(b"{")
    page = show(client, DIGITS, version)
    assert "the evaluation is damaged" in page
    assert "Decision record" in page
    (folder / manifest.FILE).write_bytes(b"{")
    page = show(client, DIGITS, version)
    assert "This version is damaged" in page
    assert f"modelyard train {DIGITS}" in page
    assert client.get(f"/models/{DIGITS}/versions/999", headers=BROWSER).status_code == 404


@pytest.mark.parametrize("source", ["real", "generated"])
def test_the_decision_record_is_a_timeline(client: FlaskClient, filled: Store, source: str) -> None:
    """Data, training, gate, publication, and what became of it: in this order."""
    version = publish(filled, DIGITS, data=data(source), prepare=write(CLASSES))
    timeline = show(client, DIGITS, version).split('class="timeline"')[1].split("</ol>")[0]
    found = re.findall(r"<h3>(.*?)</h3>", timeline)
    assert found == ["Data", "Training", "Gate: passed", "Published", "Made stable"]
    assert f"fake ({source})" in timeline
