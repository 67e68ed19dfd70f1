"""Imported versions: their outputs keep the names that their owner gave them, and have labels all the same."""

from typing import Any

import numpy as np
import pytest

from modelyard.models.registry.manifest import ImportRecord, Manifest, SignatureSpec, TensorSpec, Verdict
from modelyard.services.gateway.codecs.labels import has_labels, label_rows, score_rows
from modelyard.services.gateway.http.errors import InvalidOutput
from modelyard.services.gateway.serving.batching.calls import Outputs
from modelyard.services.gateway.serving.capture import captured_rows
from modelyard.services.gateway.serving.interface import Interface, published_interface
from tests.support.versions import seal_as

SIGNATURE = "serving_default"
LABELS = ("low", "middle", "high")


def imported(labels: tuple[str, ...] = LABELS, **fields: Any) -> Manifest:
    """A version with one output, ``output_0``."""
    columns = 1 if len(labels) == 2 else len(labels)
    signature = SignatureSpec(
        inputs=(TensorSpec(name="keras_tensor", dtype="float32", shape=(None, 2)),),
        outputs=(TensorSpec(name="output_0", dtype="float32", shape=(None, columns)),),
    )
    given = {
        "task": "multiclass",
        "input": None,
        "labels": labels,
        "probabilities": "output_0",
        "signatures": {"serving_default": signature},
        "data": None,
        "recipe": None,
        "training": None,
        "imported": ImportRecord(path="/m", form="SavedModel", files={}, tensorflow="2.20.0", test=None),
        "metrics": {},
        "verdict": Verdict(
            accepted=True, reasons=("said",), metric=None, value=None, champion=None, champion_value=None
        ),
    }
    return seal_as("cats", **given | fields)(1, {})


def interface(*labels: str) -> Interface:
    return published_interface(imported(labels or LABELS))


def test_the_likeliest_class_is_the_label() -> None:
    """The graph returns none, so it is chosen here."""
    given = interface()
    outputs = {"output_0": np.array([[0.2, 0.5, 0.3], [0.0, 0.1, 0.9]], np.float32)}
    assert has_labels(given, SIGNATURE)
    assert [row["label"] for row in label_rows(outputs, given, SIGNATURE)] == ["middle", "high"]
    first = score_rows(outputs, given, SIGNATURE)[0]
    assert (first["class_id"], first["score"]) == (1, 0.5)
    assert list(first["scores"]) == list(LABELS)


def test_one_column_is_the_second_of_two_classes() -> None:
    """As a sigmoid gives it."""
    given = interface("no", "yes")
    rows = label_rows({"output_0": np.array([[0.9], [0.25]], np.float32)}, given, SIGNATURE)
    assert [(row["label"], float(row["score"])) for row in rows] == [("yes", pytest.approx(0.9)), ("no", 0.75)]


def test_another_shape_than_the_labels_is_an_error_that_names_the_output() -> None:
    """As of a version that was trained here."""
    with pytest.raises(InvalidOutput, match=r"output_0 \[n,3\]"):
        label_rows({"output_0": np.zeros((1, 4), np.float32)}, interface(), SIGNATURE)
    with pytest.raises(InvalidOutput, match="output_0"):
        label_rows({"other": np.zeros((1, 3), np.float32)}, interface(), SIGNATURE)


def test_without_labels_there_are_none() -> None:
    manifest = imported(labels=(), probabilities=None)
    assert not has_labels(published_interface(manifest), "serving_default")


def test_captured_predictions_have_their_class() -> None:
    """So feedback and drift work on them, as on others."""
    outputs = Outputs({"output_0": np.array([[0.2, 0.5, 0.3]], np.float32)}, 1)
    (row,) = captured_rows("r-1", interface(), {"keras_tensor": np.zeros((1, 2), np.float32)}, outputs)
    assert (row.predicted, row.score) == (1.0, 0.5)


def test_a_version_whose_rows_depend_on_each_other_shares_no_runs() -> None:
    assert not published_interface(imported(batches=False)).batches
    assert published_interface(imported()).batches


def test_the_origin_of_answers_is_said() -> None:
    """In the place of the data that others were trained on: the header ``X-Model-Data``."""
    assert interface().source == "imported"


def test_manifests_of_before_are_read() -> None:
    """They have none of the newer fields."""
    known = seal_as("half_plus")(1, {}).model_dump(mode="json")
    for name in ("imported", "batches", "probabilities"):
        del known[name]
    found = Manifest.model_validate(known)
    assert (found.imported, found.batches, found.probabilities) == (None, True, None)
