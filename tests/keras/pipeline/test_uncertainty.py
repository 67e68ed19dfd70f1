"""What a version's own graph says of its uncertainty: learned, exported, reloaded."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from modelyard.models.data import Dataset, Inputs, Split, Splits, name_arrays, take
from modelyard.models.inputs import ImageInput, ModelInput, NumberInput, SequenceInput, TextInput, VectorInput
from modelyard.models.recipes import Recipe
from modelyard.models.registry.uncertainty.record import UncertaintyRecord, read_uncertainty
from modelyard.models.spec import ModelSpec, PreparedData
from modelyard.models.text.words import WordEncoder
from modelyard.models.types import Array, Task
from modelyard.pipeline.calibrating.examples import SMALLEST_HALVED, TOO_FEW, add_spans, choose_training, hold_back
from modelyard.pipeline.evaluation.calibration import measure_calibration_error
from modelyard.pipeline.evaluation.uncertainty import measure_uncertainty
from modelyard.pipeline.exporting.saved_model import write_saved_model
from modelyard.pipeline.exporting.uncertainty import CalibrationExamples

layers = keras.layers
DATASET = Dataset(name="none", homepage="", read=lambda _: Splits(*[Split(np.zeros((1, 1)), np.zeros(1))] * 3))
WORDS = [f"word{each}" for each in range(30)]


def make_spec(task: Task, given: ModelInput, labels: tuple[str, ...] = (), **fields: Any) -> ModelSpec:
    known: dict[str, Any] = {
        "prepare": lambda *_: PreparedData(None, None),
        "build": lambda *_: None,
        "recipes": {"quick": Recipe()},
        "explain": False,
    }
    return ModelSpec(dataset=DATASET, name="some", task=task, input=given, labels=labels, **known | fields)


@dataclass(frozen=True)
class Exported:
    """A graph, reloaded, and its record."""

    function: Any
    record: UncertaintyRecord

    def __call__(self, **inputs: Any) -> dict[str, Array]:
        named = {name: tf.constant(values) for name, values in inputs.items()}
        return {name: value.numpy() for name, value in self.function(**named).items()}


def export(spec: ModelSpec, model: Any, calibration: Split, train: Split, folder: Path, state: Any = None) -> Exported:
    examples = CalibrationExamples(calibration, add_spans(calibration.x), choose_training(train))
    raw = name_arrays(spec.input, take(train.x, slice(4)))
    write_saved_model(spec, model, state or {}, raw, folder, examples)
    record = read_uncertainty(folder)
    assert record
    return Exported(tf.saved_model.load(str(folder)).signatures["serving_default"], record)


# --- classes ----------------------------------------------------------------------------------------------------------


class Blobs(keras.Model):  # type: ignore[misc]  # Keras has no type information
    """A model without a graph of layers, as some users write them: overconfident about three clouds of points."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.answer = layers.Dense(16, activation="relu"), layers.Dense(3)

    def call(self, x: Any, training: bool = False) -> Any:  # noqa: ARG002  # Keras's signature
        return keras.ops.softmax(6 * self.answer(self.hidden(x)))


def draw_blobs(count: int, seed: int) -> Split:
    random = np.random.default_rng(seed)
    y = random.integers(0, 3, count)
    centres = np.array([[0, 3], [3, -2], [-3, -2]])
    return Split((centres[y] + random.normal(0, 1.6, (count, 2))).astype(np.float32), y.astype(np.int32))


@pytest.fixture(scope="module")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    keras.utils.set_random_seed(1)
    model = Blobs()
    model.compile("adam", "sparse_categorical_crossentropy")
    train = draw_blobs(900, 0)
    model.fit(train.x, train.y, epochs=4, verbose=0)
    spec = make_spec("multiclass", VectorInput(2), ("a", "b", "c"))
    return export(spec, model, draw_blobs(600, 1), train, tmp_path_factory.mktemp("blobs") / "graph")


def test_classes_come_with_sets_temperature_and_typicality(blobs: Exported) -> None:
    """Coverage as stated, probabilities less wrong than before, and what is far away is not typical."""
    test = draw_blobs(3000, 2)
    outputs = blobs(vectors=test.x)
    measured = measure_uncertainty(blobs.record, "multiclass", test.y, outputs)
    for each in measured.coverage:
        assert each.covered == pytest.approx(each.percent / 100, abs=0.02)
        assert each.mean_size
    assert measured.ece_before
    assert measure_calibration_error(outputs["probabilities"], test.y) < max(0.03, measured.ece_before)
    assert measured.typicality.flagged
    assert measured.typicality.flagged <= 0.02
    far = blobs(vectors=np.array([[30.0, 30.0], [0.0, -40.0], [1e30, 0.0]], np.float32))
    assert not far["typical"].any()
    assert np.isfinite(far["atypicality"]).all()


def test_uncertainty_does_not_depend_on_the_rest_of_a_batch(blobs: Exported) -> None:
    """To a millionth, alone and in any batch."""
    x = draw_blobs(65, 3).x
    together = blobs(vectors=x)
    for size in (1, 7):
        parts = [blobs(vectors=x[start : start + size]) for start in range(0, 65, size)]
        for name, values in together.items():
            apart = np.concatenate([part[name] for part in parts])
            np.testing.assert_allclose(apart.astype(float), values.astype(float), rtol=0, atol=1e-6)


def test_too_few_examples_are_said(tmp_path: Path) -> None:
    """Sets of all labels, and a note of each coverage that cannot be promised."""
    model = keras.Sequential([keras.Input((2,)), layers.Dense(3, activation="softmax")])
    spec = make_spec("multiclass", VectorInput(2), ("a", "b", "c"))
    found = export(spec, model, draw_blobs(TOO_FEW, 1), draw_blobs(60, 0), tmp_path / "graph")
    assert (found(vectors=np.zeros((2, 2), np.float32))["prediction_set"] == 95).all()
    assert [note.endswith("hold all") for note in found.record.notes] == [True, True]
    assert found.record.temperature == 1


# --- other tasks ------------------------------------------------------------------------------------------------------


def test_numbers_come_with_intervals(tmp_path: Path) -> None:
    """Two numbers with errors of another size; outside of training's range an input is not typical."""
    random = np.random.default_rng(0)

    def draw(count: int) -> Split:
        x = random.uniform(-1, 1, (count, 2)).astype(np.float32)
        return Split(x, (x + random.normal(0, [0.1, 1.0], (count, 2))).astype(np.float32))

    model = keras.Sequential([keras.Input((2,)), layers.Dense(2, use_bias=False)])
    model.set_weights([np.eye(2)])
    found = export(make_spec("regression", VectorInput(2), ("a", "b")), model, draw(400), draw(400), tmp_path / "graph")
    test = draw(2000)
    outputs = found(vectors=test.x)
    assert outputs["interval_95"].shape == (2000, 2, 2)
    for each in measure_uncertainty(found.record, "regression", test.y, outputs).coverage:
        assert each.covered == pytest.approx(each.percent / 100, abs=0.03)
    assert not found(vectors=np.array([[9.0, 0.0]], np.float32))["typical"].any()


def test_several_labels_and_pictures_say_what_is_typical(tmp_path: Path) -> None:
    """No sets, and probabilities as they are; a black and a noisy picture are unlike soft spots on grey."""
    random = np.random.default_rng(0)

    def draw(count: int) -> Split:
        spots = random.normal(128, 6, (count, 8, 8, 3))
        spots[:, 2:5, 2:5] += random.uniform(30, 60, (count, 1, 1, 1))
        return Split(spots.clip(0, 255).astype(np.uint8), random.integers(0, 2, (count, 2)).astype(np.float32))

    x = keras.Input((8, 8, 3))
    hidden = layers.Conv2D(8, 3, activation="relu")(layers.Rescaling(1 / 255)(x))
    model = keras.Model(x, layers.Dense(2, activation="sigmoid")(layers.Flatten()(hidden)))
    spec = make_spec("multilabel", ImageInput(8, 8, 3), ("a", "b"))
    found = export(spec, model, draw(200), draw(300), tmp_path / "graph")
    assert found(images=draw(500).x.astype(np.float32))["typical"].mean() >= 0.96
    plain = np.full((8, 8, 3), 136.0)  # as bright as the others are on average
    odd = np.stack([np.zeros((8, 8, 3)), random.uniform(0, 255, (8, 8, 3)), plain]).astype(np.float32)
    outputs = found(images=odd)
    assert set(outputs) == {"probabilities", "typical", "atypicality"}
    assert not outputs["typical"].any()
    assert (outputs["atypicality"][[0, 2]] >= 2).all()


def test_a_text_without_a_known_word_is_not_typical(tmp_path: Path) -> None:
    """One word of a hundred is no news; a short text of known words is typical, as a part of what was trained on.

    An explanation is of the class that is answered, and finds nothing in words that are not known.
    """
    random = np.random.default_rng(0)

    def draw(count: int) -> Split:
        texts = [" ".join(random.choice(WORDS, random.integers(30, 80))) for _ in range(count)]
        return Split(np.array(texts, object), (np.arange(count) % 20 < 11).astype(np.int32))

    ids = keras.Input((None,), dtype="int32")
    pooled = layers.GlobalAveragePooling1D()(layers.Embedding(32, 8)(ids))
    says_no = keras.initializers.Constant(-2)  # of nothing, too; in training there are more texts that say yes
    model = keras.Model(ids, layers.Dense(1, activation="sigmoid", bias_initializer=says_no)(pooled))
    state = {"vocabulary": np.array(WORDS), "max_tokens": np.array(100)}
    spec = make_spec("binary", TextInput(), ("no", "yes"), encode=WordEncoder, explain=True)
    found = export(spec, model, draw(200), draw(300), tmp_path / "graph", state)
    texts = ["", "xyz", "qwe rtz uio", " ".join(["foreign"] * 60 + WORDS[:2]), "word3 word7", " ".join(WORDS) + " new"]
    batch = np.array([text.encode() for text in texts], object)
    outputs = found(text=batch)
    assert outputs["typical"].tolist() == [False] * 4 + [True] * 2
    assert outputs["probabilities"][:3].max() <= 0.6  # the shares in training, whatever the network makes of nothing
    explain = tf.saved_model.load(str(tmp_path / "graph")).signatures["explain"]
    why = {name: value.numpy() for name, value in explain(text=tf.constant(batch)).items()}
    assert why["class_id"].tolist() == outputs["class_id"].tolist()
    assert outputs["class_id"][:3].tolist() == [1] * 3
    chosen = np.take_along_axis(outputs["probabilities"], outputs["class_id"][:, None], axis=1)[:3, 0]
    np.testing.assert_allclose(why["score"][:3], np.log(chosen / (1 - chosen)) * found.record.temperature, rtol=1e-4)
    assert not why["weights"][:3].any()
    assert why["weights"][3].any()


def test_what_has_no_finite_answer_teaches_nothing(tmp_path: Path) -> None:
    """Keras's mean over the words of an empty text is zero by zero; the text gets an answer all the same."""
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)

    def draw(count: int) -> Split:
        texts = ["" if each % 10 == 0 else " ".join(random.choice(WORDS, 20)) for each in range(count)]
        return Split(np.array(texts, object), (np.arange(count) % 20 < 14).astype(np.int32))  # 12 of 18 that have words

    ids = keras.Input((None,), dtype="int32")
    pooled = layers.GlobalAveragePooling1D()(layers.Embedding(32, 8, mask_zero=True)(ids))
    model = keras.Model(ids, layers.Dense(1, activation="sigmoid")(pooled))
    state = {"vocabulary": np.array(WORDS), "max_tokens": np.array(100)}
    spec = make_spec("binary", TextInput(), ("no", "yes"), encode=WordEncoder)
    found = export(spec, model, draw(200), draw(300), tmp_path / "graph", state)
    assert any("of 400 examples are left out: no finite answer" in note for note in found.record.notes)
    outputs = found(text=np.array([b"", b"word3 word7"], object))
    assert outputs["probabilities"][0] == pytest.approx([1 / 3, 2 / 3], abs=0.01)
    assert outputs["typical"].tolist() == [False, True]


@pytest.mark.parametrize(
    ("given", "x", "odd"),
    [
        (SequenceInput(2), np.random.default_rng(0).normal(0, 1, (200, 5, 2)), np.full((1, 5, 2), 50.0)),
        (
            {"age": NumberInput(), "size": NumberInput()},
            {name: np.random.default_rng(len(name)).normal(0, 1, 200) for name in ("age", "size")},
            {"age": np.zeros(1), "size": np.full(1, 40.0)},
        ),
    ],
    ids=["a sequence", "several inputs"],
)
def test_other_inputs_are_judged_by_what_sums_them_up(
    given: ModelInput, x: Inputs, odd: Inputs, tmp_path: Path
) -> None:
    """A model of no layer that could be looked into is enough."""
    y = np.random.default_rng(1).integers(0, 2, 200).astype(np.int32)
    split = Split({key: each.astype(np.float32) for key, each in name_arrays(given, x).items()}, y)
    split = split if isinstance(given, Mapping) else Split(next(iter(split.x.values())), y)

    class Mean(keras.Model):  # type: ignore[misc]  # Keras has no type information
        def call(self, x: Any, training: bool = False) -> Any:  # noqa: ARG002  # Keras's signature
            values = sum(x.values()) if isinstance(x, dict) else keras.ops.mean(x, axis=(1, 2))
            return keras.ops.sigmoid(values)[:, None]

    found = export(make_spec("binary", given, ("no", "yes")), Mean(), split, split, tmp_path / "graph")
    named = {key: each.astype(np.float32) for key, each in name_arrays(given, odd).items()}
    assert not found(**named)["typical"].any()
    assert found(**name_arrays(given, take(split.x, slice(100))))["typical"].mean() > 0.9


# --- parts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "kept", "held"), [(100, 50, 50), (SMALLEST_HALVED - 1, 39, TOO_FEW)])
def test_what_an_epoch_was_chosen_on_is_not_calibrated_on(count: int, kept: int, held: int) -> None:
    """Half is held back; with the last epoch nothing is chosen, and all of it calibrates."""
    part = Split(np.arange(count), np.arange(count))
    splits, spec = Splits(part, part, part), make_spec("binary", VectorInput(1))
    fitted, calibration = hold_back(spec, splits, Recipe(keep="best"))
    assert (len(fitted.validation), len(calibration)) == (kept, held)
    if kept + held == count:
        assert not set(fitted.validation.x) & set(calibration.x)
    fitted, calibration = hold_back(spec, splits, Recipe(keep="last"))
    assert (len(fitted.validation), len(calibration)) == (count, count)
    own = make_spec("custom", VectorInput(1), signatures=lambda *_: {})
    assert len(hold_back(own, splits, Recipe())[1]) == 0
