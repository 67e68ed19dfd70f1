"""The digits' convolutional network: its answers, its recipe's values, and what it learns of the sample."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter

from modelyard.models.data import Splits
from modelyard.models.datasets import mnist
from modelyard.models.errors import InvalidRecipe
from modelyard.models.zoo.mnist_cnn import SPEC, MnistRecipe
from tests.support.fitting import fit


@pytest.fixture(scope="module")
def sample() -> Splits:
    return mnist.sample()


@pytest.mark.parametrize("depth", [0, 2])
def test_network_turns_pixels_into_probabilities(sample: Splits, depth: int) -> None:
    """Raw pixels 0..255 in any number -> ten shares of one; how many come at once changes nothing."""
    model = SPEC.build(SPEC.recipes["quick"].override({"depth": depth}), {})
    x = sample.test.x[:7].astype(np.float32)
    together = np.asarray(model(x, training=False))
    assert together.shape == (7, 10)
    np.testing.assert_allclose(together.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(np.asarray(model(x[:1], training=False)), together[:1], atol=1e-5)


def test_every_recipe_value_is_bounded_and_described() -> None:
    """The job form and the API are generated from the schema."""
    for key, schema in TypeAdapter(MnistRecipe).json_schema()["properties"].items():
        assert schema["description"], key
        for choice in schema.get("anyOf", [schema]):
            assert choice["type"] == "string" or "minimum" in choice or "exclusiveMinimum" in choice, key
    with pytest.raises(InvalidRecipe, match="'rotation'"):
        SPEC.recipes["quick"].override({"rotation": "90"})


@pytest.mark.parametrize(
    ("shorter", "right"),
    [
        ({"channels": 4, "sent": 0, "epochs": 2, "min_steps": 60}, 0.8),
        pytest.param({"min_steps": SPEC.recipes["quick"].min_steps // 3}, 0.95, marks=pytest.mark.long),
    ],
)
def test_quick_recipe_learns_the_sample(shorter: dict[str, int], right: float, sample: Splits, tmp_path: Path) -> None:
    """A third of it gives a model that reads 95 of 100 digits it has not seen, a few steps of a smaller one 80."""
    recipe = SPEC.recipes["quick"].override(shorter)
    model = SPEC.build(recipe, {})
    trained = fit(SPEC, sample, recipe, tmp_path / "work")
    model.load_weights(trained.weights)
    predicted = np.asarray(model(sample.test.x.astype(np.float32), training=False)).argmax(axis=1)
    assert (predicted == sample.test.y).mean() >= right
