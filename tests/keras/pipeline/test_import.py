"""Imports, without a queue: what is published of a model that was trained elsewhere, and how it is measured."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from modelyard.models.errors import InvalidRecipe
from modelyard.models.recipes import Recipe
from modelyard.models.registry.reference import read_reference
from modelyard.models.registry.rollout import read_history, read_rollout
from modelyard.models.registry.store import Store
from modelyard.models.tfserving.pools import ServingPools
from modelyard.pipeline.fitting.warm_start import find_start_version
from modelyard.pipeline.golden import TOLERANCE, load_golden, max_difference
from modelyard.pipeline.import_model import ImportJob, import_model
from modelyard.pipeline.job import Published, Rejected
from modelyard.pipeline.processes.forkserver import ForkServer
from tests.support.imported_models import (
    LABELS,
    make_classifier,
    save_classifier,
    save_function,
    save_test_data,
    save_two_inputs,
)

SPEC = tf.TensorSpec([None, 2], tf.float32, name="x")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models and test data, which no test changes."""
    root = tmp_path_factory.mktemp("saved")
    save_classifier(root / "exported")
    save_classifier(root / "backwards", scale=-1.0)
    make_classifier().save(root / "whole.keras")
    save_two_inputs(root / "two")
    for ending in ("npz", "csv", "jsonl"):
        save_test_data(root / f"test.{ending}")
    return root


def bring_in(root: Path, forks: ForkServer, path: Path, **given: Any) -> Published | Rejected:
    job = ImportJob(model="cats", path=path, by="a test", **given)
    return import_model(job, Store(root / "store"), ServingPools.of(()), forks, lambda _: None)


def published(root: Path, forks: ForkServer, path: Path, **given: Any) -> Published:
    found = bring_in(root, forks, path, **given)
    assert isinstance(found, Published), found
    return found


def test_an_export_of_keras_is_a_version_like_any_other(tmp_path: Path, saved: Path, forks: ForkServer) -> None:
    """Whole, measured, with golden answers that are the model's own, and a record of where it came from."""
    outcome = published(tmp_path, forks, saved / "exported", labels=LABELS, test=saved / "test.npz")
    store = Store(tmp_path / "store")
    manifest = store.verify("cats", 1)
    assert manifest == outcome.manifest
    assert (manifest.data, manifest.recipe, manifest.training) == (None, None, None)
    assert (manifest.task, manifest.labels, manifest.batches) == ("multiclass", LABELS, True)
    assert manifest.metrics["accuracy"] == manifest.verdict.value == 1.0
    assert manifest.imported
    assert manifest.imported.tensorflow == tf.__version__
    assert manifest.imported.files["saved_model.pb"] == manifest.files["saved_model.pb"]
    assert manifest.imported.test
    assert (manifest.imported.test.name, manifest.imported.test.examples) == ("test.npz", 60)
    golden = load_golden(store.path("cats", 1))
    (name,) = (tensor.name for tensor in manifest.signatures["serving_default"].inputs)
    expected = np.asarray(make_classifier()(golden[f"serving_default/{name}"]))
    assert max_difference(golden["serving_default/outputs/output_0"], expected) <= TOLERANCE
    assert manifest.probabilities == "output_0"
    reference = read_reference(store.path("cats", 1))
    assert reference
    assert "answer class" in reference.histograms
    assert read_rollout(store, "cats").stable == 1
    assert [change.action for change in read_history(store, "cats")] == ["import", "promote"]


@pytest.mark.parametrize("ending", ["csv", *(pytest.param(each, marks=pytest.mark.long) for each in ("npz", "jsonl"))])
def test_test_data_may_be_of_any_form(tmp_path: Path, saved: Path, forks: ForkServer, ending: str) -> None:
    """Arrays, a CSV whose columns make the vector and whose labels are names, JSON lines; of a Keras file."""
    outcome = published(tmp_path, forks, saved / "whole.keras", labels=LABELS, test=saved / f"test.{ending}")
    assert outcome.manifest.imported
    assert outcome.manifest.imported.form == "Keras"
    assert list(outcome.manifest.imported.files) == ["whole.keras"]
    assert outcome.manifest.metrics["accuracy"] == 1.0


def test_a_worse_model_than_the_serving_one_is_rejected(tmp_path: Path, saved: Path, forks: ForkServer) -> None:
    """Through the gate as any version: compared on the same data, and nothing is published."""
    data = save_test_data(tmp_path / "some_wrong.npz", wrong=0.3)
    published(tmp_path, forks, saved / "exported", labels=LABELS, test=data)
    worse = bring_in(tmp_path, forks, saved / "backwards", labels=LABELS, test=data)
    assert isinstance(worse, Rejected)
    assert any("version 1 on the same test data" in reason for reason in worse.verdict.reasons)
    again = published(tmp_path, forks, saved / "whole.keras", labels=LABELS, test=data)
    assert again.manifest.verdict.champion_value == pytest.approx(0.7)
    assert (again.manifest.version, again.promotion.percent) == (2, 10)
    now = read_rollout(Store(tmp_path / "store"), "cats")
    assert (now.stable, now.canary and now.canary.version) == (1, 2)


def test_without_test_data_the_record_says_that_nothing_was_measured(
    tmp_path: Path, saved: Path, forks: ForkServer
) -> None:
    """Several inputs by name, and golden answers of inputs that were made for them."""
    outcome = published(tmp_path, forks, saved / "two", manual=True)
    manifest = outcome.manifest
    assert (manifest.verdict.accepted, manifest.verdict.metric, manifest.metrics) == (True, None, {})
    assert manifest.verdict.reasons[0] == "no test data was given: nothing was measured"
    assert [tensor.name for tensor in manifest.signatures["serving_default"].inputs] == ["left", "right"]
    assert set(manifest.example) == {"left", "right"}
    golden = load_golden(tmp_path / "store" / "cats" / "1")
    total = sum(golden[f"serving_default/{name}"].sum(axis=1) for name in ("left", "right"))
    assert golden["serving_default/outputs/output_0"][:, 0] == pytest.approx(total, rel=1e-5)
    assert not outcome.promotion.promoted


def test_a_model_of_tf_keras_is_imported(tmp_path: Path, forks: ForkServer) -> None:
    """``tf.saved_model.save`` of Keras 2, in the package where it lives on."""
    tf_keras = pytest.importorskip("tf_keras")
    model = tf_keras.Sequential([tf_keras.layers.Dense(1, activation="sigmoid", input_shape=(2,))])
    tf.saved_model.save(model, str(tmp_path / "old"))
    outcome = published(tmp_path, forks, tmp_path / "old", labels=("no", "yes"))
    assert (outcome.manifest.task, outcome.manifest.batches) == ("binary", True)


def test_rows_that_depend_on_each_other_are_found(tmp_path: Path, forks: ForkServer) -> None:
    """Requests must not share runs of such a model; the manifest and the record say so."""
    folder = save_function(tmp_path / "mean", lambda x: {"y": x - tf.reduce_mean(x, axis=0)}, SPEC)
    manifest = published(tmp_path, forks, folder).manifest
    assert not manifest.batches
    assert any("depends on the others in its batch" in reason for reason in manifest.verdict.reasons)


def test_other_signatures_come_along_unless_they_take_no_batches(tmp_path: Path, forks: ForkServer) -> None:
    """Each is tried; one that cannot be called is left out, and the record says why."""
    folder = save_function(
        tmp_path / "several",
        lambda x: {"y": x},
        SPEC,
        image=(
            lambda content: {"size": tf.map_fn(lambda one: tf.shape(tf.io.decode_image(one))[0], content, tf.int32)},
            tf.TensorSpec([None], tf.string, name="content"),
        ),
        one=(lambda x: {"y": x}, tf.TensorSpec([4, 2], tf.float32, name="x")),
        scalar=(lambda x: {"y": x}, tf.TensorSpec([], tf.float32, name="x")),
    )
    manifest = published(tmp_path, forks, folder).manifest
    assert sorted(manifest.signatures) == ["image", "serving_default"]
    assert sum("is left out" in reason for reason in manifest.verdict.reasons) == 2


def test_texts_of_any_shape_have_golden_answers(tmp_path: Path, forks: ForkServer) -> None:
    """Strings in and out, in rows of several."""
    spec = tf.TensorSpec([None, 3], tf.string, name="words")
    folder = save_function(tmp_path / "upper", lambda words: {"upper": tf.strings.upper(words)}, spec)
    manifest = published(tmp_path, forks, folder).manifest
    golden = load_golden(tmp_path / "store" / "cats" / "1")
    words, upper = golden["serving_default/words"], golden["serving_default/outputs/upper"]
    assert words.shape == upper.shape == (16, 3)
    assert [each.upper() for each in words.ravel()] == upper.ravel().tolist()
    assert len(manifest.example) == 3


def test_training_does_not_start_from_an_imported_version(tmp_path: Path, saved: Path, forks: ForkServer) -> None:
    """It has no weights that a recipe knows."""
    published(tmp_path, forks, saved / "two")
    with pytest.raises(InvalidRecipe, match="version 1 of cats was imported"):
        find_start_version(Store(tmp_path / "store"), "cats", Recipe(init="stable"), tmp_path / "checkpoints")


def test_a_numbers_model_is_measured_by_its_numbers(tmp_path: Path, saved: Path, forks: ForkServer) -> None:
    """R² and its companions, of inputs by the names of the columns."""
    generator = np.random.default_rng(0)
    left, right = generator.random((30, 3), np.float32), generator.random((30, 2), np.float32)
    truth = left.sum(axis=1) + right.sum(axis=1)
    np.savez(tmp_path / "numbers.npz", left=left, right=right, total=truth)
    manifest = published(tmp_path, forks, saved / "two", test=tmp_path / "numbers.npz", target="total").manifest
    assert (manifest.task, manifest.verdict.metric) == ("regression", "r2")
    assert manifest.metrics["r2"] == pytest.approx(1.0)


def test_logits_are_classes_without_a_loss(tmp_path: Path, forks: ForkServer) -> None:
    """What is no probability is said, and only what needs none is measured."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    model.layers[0].set_weights(make_classifier().layers[0].get_weights())
    model.export(tmp_path / "logits", verbose=False)
    data = save_test_data(tmp_path / "test.npz")
    manifest = published(tmp_path, forks, tmp_path / "logits", labels=LABELS, test=data).manifest
    assert manifest.metrics == {"accuracy": 1.0}
    assert any("no probabilities" in reason for reason in manifest.verdict.reasons)
