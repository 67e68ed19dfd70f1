"""Answers in words, from the outputs that a signature declares."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from modelyard.models.registry.manifest import SignatureSpec, TensorSpec
from modelyard.services.gateway.codecs import labels
from modelyard.services.gateway.http.errors import InvalidOutput
from modelyard.services.gateway.serving.interface import Interface

SIGNATURE = "serving_default"
SPECS = {
    "probabilities": TensorSpec(name="probabilities", dtype="float32", shape=(None, 2)),
    "class_id": TensorSpec(name="class_id", dtype="int64", shape=(None,)),
    "value": TensorSpec(name="value", dtype="float32", shape=(None, 2)),
    "text": TensorSpec(name="text", dtype="string", shape=(None,)),
    "scores": TensorSpec(name="scores", dtype="float32", shape=(None, 2)),
}
SCORES = np.array([[0.25, 0.75]], np.float32)


def interface(*outputs: str, names: tuple[str, ...] = ("no", "yes")) -> Interface:
    signature = SignatureSpec(inputs=(), outputs=tuple(SPECS[name] for name in outputs))
    return Interface("m", 1, {SIGNATURE: signature}, None, names, None, batches=True)


@pytest.mark.parametrize(
    ("outputs", "kind"),
    [
        (("probabilities", "class_id"), "class"),
        (("probabilities",), "labels"),
        (("value",), "numbers"),
        (("text",), "text"),
        (("text", "scores"), "text"),
        (("scores",), None),
    ],
)
def test_the_kind_of_an_answer_follows_from_its_outputs(outputs: tuple[str, ...], kind: str | None) -> None:
    """Where there are names for them; a text needs none."""
    assert labels.find_kind(interface(*outputs), SIGNATURE) == kind
    assert labels.find_kind(interface(*outputs, names=()), SIGNATURE) == ("text" if kind == "text" else None)


def test_a_classifier_may_call_its_probabilities_as_it_likes() -> None:
    """The likeliest class is the answer; one column is the second of two classes."""
    named = replace(interface("scores"), probabilities="scores")
    expected = [{"label": "yes", "class_id": 1, "score": 0.75, "scores": {"no": 0.25, "yes": 0.75}}]
    for scores in (SCORES, SCORES[:, 1:], SCORES[:, 1]):
        assert labels.score_rows({"scores": scores}, named, SIGNATURE) == expected


@pytest.mark.parametrize(
    ("outputs", "arrays"),
    [
        (("probabilities", "class_id"), {"probabilities": SCORES}),
        (("probabilities", "class_id"), {"probabilities": SCORES, "class_id": np.array([2])}),
        (("probabilities", "class_id"), {"probabilities": SCORES, "class_id": np.array([-1])}),
        (("probabilities",), {"probabilities": SCORES[:, :1]}),
        (("probabilities",), {"probabilities": SCORES[:0]}),
        (("value",), {"value": np.zeros((1, 3), np.float32)}),
        (("text",), {"text": np.zeros(1, np.float32)}),
        (("text",), {"text": np.array([b"\xff"], object)}),
    ],
)
def test_outputs_that_are_not_as_declared_are_the_models_fault(outputs: tuple[str, ...], arrays: Any) -> None:
    """500, never an answer in wrong words."""
    with pytest.raises(InvalidOutput):
        labels.label_rows(arrays, interface(*outputs), SIGNATURE)
