"""Which layer of a model has its features."""

from collections.abc import Iterator
from typing import Any

import keras
import pytest

from modelyard.models.errors import InvalidSpec
from modelyard.pipeline.exporting.features import find_feature_layer

layers = keras.layers


def list_models() -> Iterator[tuple[Any, str, str]]:
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="deep"), layers.ReLU()])
    yield keras.Sequential([keras.Input((4,)), layers.Dense(3, name="first"), layers.Dense(1, name="last")]), "", "last"
    yield keras.Sequential([keras.Input((4,)), inner, layers.Softmax()]), "", "deep"
    yield keras.Sequential([keras.Input((4,)), layers.Dense(3, name="first"), layers.Dense(1)]), "first", "first"


def test_features_are_what_goes_into_the_last_layer() -> None:
    """Also of a model inside a model; or into the layer that the spec names, if there is one of that name."""
    for model, name, expected in list_models():
        assert find_feature_layer(model, name).name == expected
        with pytest.raises(InvalidSpec, match="feature_layer: expected one of the layers"):
            find_feature_layer(model, "none")
