"""Vectors, sequences, tables: the weights of linear models are known."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from modelyard import CategoryInput, DateInput, ModelSpec, NumberInput, SequenceInput, TextInput, VectorInput
from modelyard.pipeline.exporting.explaining.background import learn_background
from tests.support.explained import NOWHERE, encode_by, explain, export, linear, texts

WEIGHTS = [3.0, -2.0, 1.0, 0.0, 0.5]
DRAW = np.random.default_rng(0)
VECTORS = DRAW.normal(size=(64, 5)).astype(np.float32)


def centre(values: Any) -> Any:
    return learn_background(VectorInput(values.shape[1]), values)["vectors"].mean(axis=0)


def test_each_number_of_a_linear_model_weighs_its_share_of_the_value(tmp_path: Path) -> None:
    """Coefficient times distance from the usual; a regression explains its value, and names no class."""
    spec = ModelSpec(name="m", dataset=NOWHERE, task="regression", input=VectorInput(5))
    loaded = export(spec, linear(WEIGHTS, 1.0), {"vectors": VECTORS}, tmp_path / "1")
    found = explain(loaded, VECTORS[:3])
    np.testing.assert_allclose(found["weights"], (VECTORS[:3] - centre(VECTORS)) * WEIGHTS, atol=1e-4)
    np.testing.assert_allclose(found["score"], VECTORS[:3] @ np.array(WEIGHTS) + 1, atol=1e-4)
    assert "class_id" not in found


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_weights_are_of_the_answered_class_and_do_not_saturate(tmp_path: Path, activation: str) -> None:
    """At a probability of 1 - 1e-17, where the probabilities themselves cannot tell one input from the other."""
    task = "binary" if activation == "sigmoid" else "multiclass"
    model = linear(WEIGHTS if task == "binary" else np.outer(WEIGHTS, [-0.5, 0.5]), activation=activation)
    spec = ModelSpec(name="m", dataset=NOWHERE, task=task, input=VectorInput(5), labels=("no", "yes"))
    loaded = export(spec, model, {"vectors": VECTORS}, tmp_path / "1")
    sure = np.array([[10, -4, 1, 1, 1], [-10, 4, -1, 1, -1]], np.float32)
    found = explain(loaded, sure)
    assert found["class_id"].tolist() == [1, 0]
    expected = (sure - centre(VECTORS)) * WEIGHTS * [[1], [-1]]
    np.testing.assert_allclose(found["weights"], expected, rtol=1e-3, atol=1e-3)


def test_the_likeliest_of_several_labels_is_explained(tmp_path: Path) -> None:
    """Each label by itself: the others' scores do not count."""
    spec = ModelSpec(name="m", dataset=NOWHERE, task="multilabel", input=VectorInput(2), labels=("a", "b"))
    loaded = export(spec, linear([[2, 0], [0, 3]], activation="sigmoid"), {"vectors": VECTORS[:, :2]}, tmp_path / "1")
    found = explain(loaded, np.array([[0.1, 4], [4, 0.1]], np.float32))
    assert found["class_id"].tolist() == [1, 0]
    weights = found["weights"]
    assert weights[0, 0] == pytest.approx(0, abs=1e-5)
    assert weights[0, 1] > 5
    assert weights[1, 0] > 5


def test_the_step_that_stands_out_weighs_most(tmp_path: Path) -> None:
    """Sequences of any length; a usual step takes the place of each."""
    model = keras.Sequential([keras.Input((None, 2)), keras.layers.GlobalAveragePooling1D()])
    model.add(keras.layers.Dense(1, use_bias=False))
    model.layers[-1].set_weights([np.array([[1], [0]], np.float32)])
    spec = ModelSpec(name="m", dataset=NOWHERE, task="regression", input=SequenceInput(2))
    usual = np.zeros((8, 6, 2), np.float32)
    loaded = export(spec, model, {"sequences": usual}, tmp_path / "1")
    sequence = np.zeros((1, 100, 2), np.float32)
    sequence[0, 70] = [100, 7]
    weights = explain(loaded, sequence)["weights"][0]
    assert weights.shape == (100,)
    assert weights.argmax() in (70, 69, 71)  # more than 64 steps are weighed by twos
    assert weights.sum() == pytest.approx(1, abs=1e-4)


def encode(raw: Any) -> Any:
    is_gold = tf.cast(tf.equal(raw["plan"], "gold"), tf.float32)
    complains = tf.cast(tf.strings.regex_full_match(raw["note"], "(?s).*lost.*"), tf.float32)
    late = tf.cast(tf.strings.regex_full_match(raw["since"], "2025.*"), tf.float32)
    return tf.stack([raw["age"], is_gold, late, complains], axis=1)


def test_several_inputs_have_a_weight_each_and_a_text_one_for_each_word_too(tmp_path: Path) -> None:
    """In the order of the data, which is not that of names; each named beside its weight."""
    kinds = {"plan": CategoryInput(), "age": NumberInput(), "note": TextInput(), "since": DateInput()}
    spec = ModelSpec(
        name="m",
        dataset=NOWHERE,
        task="binary",
        input=kinds,
        labels=("stays", "leaves"),
        encode=encode_by(encode),
    )
    raw = {
        "plan": texts(*["gold", "free"] * 4),
        "age": np.linspace(-1, 1, 8).astype(np.float32),
        "note": texts(*["fine"] * 8),
        "since": texts(*["2024-01-01", "2025-01-01"] * 4),
    }
    loaded = export(spec, linear([1, -2, 0.5, 3], activation="sigmoid"), raw, tmp_path / "1")
    asked = {
        "plan": texts("free"),
        "age": np.array([2], np.float32),
        "note": texts("you lost it"),
        "since": texts("2025-05-05"),
    }
    found = explain(loaded, asked)
    assert found["inputs"].tolist() == [[b"plan", b"age", b"note", b"since"]]
    np.testing.assert_allclose(found["weights"], [[1, 2, 3, 0.25]], atol=1e-4)
    assert found["note_words"].tolist() == [[b"you", b"lost", b"it"]]
    np.testing.assert_allclose(found["note_weights"], [[0, 3, 0]], atol=1e-4)
