"""The two models that show how little it takes to add one."""

import inspect
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from modelyard.models.catalog import describe_model, list_models, load_spec
from modelyard.models.datasets import mnist
from modelyard.models.ranges import sample_values
from modelyard.models.zoo import mnist_mlp, neuron
from modelyard.models.zoo.neuron import generate_points
from modelyard.pipeline.fitting.devices import prepare_devices
from modelyard.pipeline.stages.train import train


@pytest.mark.parametrize("module", [mnist_mlp, neuron])
def test_model_is_one_short_file(module: ModuleType) -> None:
    """A model is added by one file; the catalogue finds it by itself."""
    assert len(inspect.getsource(module).splitlines()) <= 70
    loaded = load_spec(module.SPEC.name)
    assert (loaded.build, loaded.file) == (module.SPEC.build, Path(inspect.getfile(module)))


@pytest.mark.long  # test_mnist_cnn.py and test_zoo_smallest.py have shorter ones of their kind
def test_hidden_layer_learns_the_sample(tmp_path: Path) -> None:
    """`quick` passes the gate on the sample."""
    spec, splits = mnist_mlp.SPEC, mnist.sample()
    recipe = spec.recipes["quick"]
    model = spec.build(recipe, {})
    trained = train(
        spec, splits, recipe, prepare_devices(recipe), tmp_path, tmp_path / "checkpoints", report=lambda _: None
    )
    model.load_weights(trained.weights)
    predicted = np.asarray(model(splits.test.x.astype(np.float32), training=False)).argmax(axis=1)
    assert (predicted == splits.test.y).mean() >= spec.gate.sample_floor


@pytest.mark.parametrize("epochs", [3, pytest.param(10, marks=pytest.mark.long)])
def test_neuron_finds_the_line(epochs: int, tmp_path: Path) -> None:
    """Gradient descent on the absolute error recovers weight and bias; the validation score says so."""
    spec, splits = neuron.SPEC, neuron.SPEC.dataset.read(tmp_path)
    recipe = spec.recipes["quick"].override({"epochs": epochs})
    trained = train(
        spec, splits, recipe, prepare_devices(recipe), tmp_path, tmp_path / "checkpoints", report=lambda _: None
    )
    model = spec.build(recipe, {})
    model.load_weights(trained.weights)
    weight, bias = model.get_weights()
    assert weight.item() == pytest.approx(neuron.WEIGHT, abs=0.05)
    assert bias.item() == pytest.approx(neuron.BIAS, abs=0.05)
    assert trained.history[-1]["val_r2"] >= spec.gate.floor


@pytest.mark.parametrize("name", list_models())
def test_what_a_search_may_try_is_what_the_recipes_take(name: str) -> None:
    """Every model of the zoo that learns declares ranges; the number of epochs is the search's own to choose."""
    spec, trainable = load_spec(name), describe_model(load_spec(name))
    assert trainable.search or name == "product"
    assert not {"epochs", "min_steps", "seed"} & trainable.search.keys()
    for recipe, chosen in spec.recipes.items():
        for values in sample_values(trainable.search, 20, seed=0):
            trainable.check_recipe(recipe, values)
            chosen.override(values)


def test_generated_points_are_always_the_same(tmp_path: Path) -> None:
    """A dataset without files needs none and is repeatable."""
    first, second = (generate_points(tmp_path) for _ in range(2))
    np.testing.assert_array_equal(first.train.y, second.train.y)
    assert first.train.x.shape == (800, 1)
    assert not neuron.LINE.files
