"""The two smallest models of the sources: ten neurons, and a product without anything to learn."""

from pathlib import Path

import numpy as np
import pytest

from modelyard.models.datasets import mnist
from modelyard.models.registry.store import Store
from modelyard.models.types import Array
from modelyard.models.zoo import logistic, product
from modelyard.pipeline.evaluation.exported import Signature
from modelyard.pipeline.job import JobLocations, Published, TrainingJob
from modelyard.pipeline.processes.forkserver import ForkServer
from modelyard.pipeline.run import run_job
from tests.support.fitting import fit


def publish(model: str, root: Path, forks: ForkServer) -> tuple[Published, Signature]:
    """A job on what is shipped, and the signature of its version."""
    import tensorflow as tf

    job = TrainingJob(model, "quick", {}, "sample", "stable", "a test")
    outcome = run_job(job, JobLocations(root / "store", root, root / "work", ()), forks, lambda _: None)
    assert isinstance(outcome, Published)
    version = Store(root / "store").path(model, outcome.manifest.version)
    return outcome, Signature(tf.saved_model.load(str(version)).signatures["serving_default"])


def test_a_graph_without_weights_is_published_and_multiplies(tmp_path: Path, forks: ForkServer) -> None:
    """Nothing is trained, and the gate has a ceiling of nought; two inputs by name."""
    outcome, multiply = publish("product", tmp_path, forks)
    manifest = outcome.manifest
    assert (manifest.training.parameters, manifest.training.history) == (0, ())
    assert (manifest.verdict.metric, manifest.verdict.value) == ("max_error", 0.0)
    assert [tensor.name for tensor in manifest.signatures["serving_default"].inputs] == ["a", "b"]
    a, b = np.array([3, -2.5, 0, 1e20], np.float32), np.array([7, 4, 5, 1e-20], np.float32)
    np.testing.assert_array_equal(multiply({"a": a, "b": b})["value"], (a * b)[:, None])
    again, _ = publish("product", tmp_path, forks)  # and once more, beside the version that answers
    assert again.manifest.verdict.champion == 1


def draw_unknown_images() -> Array:
    """Noise, a black image, and a white one: ``float32 [10,28,28,1]``."""
    noise = np.random.default_rng(0).uniform(0, 255, (8, 28, 28, 1))
    return np.concatenate([noise, np.zeros((1, 28, 28, 1)), np.full((1, 28, 28, 1), 255)]).astype(np.float32)


def test_ten_neurons_read_the_sample_and_their_answers_add_up_to_one(tmp_path: Path) -> None:
    """After a few steps most of it; the sum is one of what no neuron knows, too."""
    splits, recipe = mnist.sample(), logistic.SPEC.recipes["quick"].override({"epochs": 2, "min_steps": 100})
    trained = fit(logistic.SPEC, splits, recipe, tmp_path / "work")
    model = logistic.SPEC.build(recipe, {})
    model.load_weights(trained.weights)
    assert trained.parameters == 7850
    read = np.asarray(model(splits.test.x.astype(np.float32), training=False)).argmax(axis=1)
    assert (read == splits.test.y).mean() >= 0.7
    np.testing.assert_allclose(np.asarray(model(draw_unknown_images(), training=False)).sum(axis=1), 1, atol=1e-5)


@pytest.mark.long
def test_ten_neurons_are_published_and_their_answers_add_up_to_one(tmp_path: Path, forks: ForkServer) -> None:
    """`quick` passes the gate on the sample."""
    outcome, read = publish("logistic", tmp_path, forks)
    assert outcome.manifest.training.parameters == 7850
    assert outcome.manifest.metrics["accuracy"] >= logistic.SPEC.gate.sample_floor
    np.testing.assert_allclose(read(draw_unknown_images())["probabilities"].sum(axis=1), 1, atol=1e-5)


def test_products_are_always_the_same(tmp_path: Path) -> None:
    """A dataset without files needs none and is repeatable."""
    first, second = (product.draw_numbers(tmp_path) for _ in range(2))
    np.testing.assert_array_equal(first.test.x["a"], second.test.x["a"])
    np.testing.assert_array_equal(first.test.y, first.test.x["a"] * first.test.x["b"])
