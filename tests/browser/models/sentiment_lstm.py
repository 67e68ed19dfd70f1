"""The example of this name, trained on what ships with the project, without its LSTM: every test waits for it."""

from dataclasses import replace
from typing import Any

import keras
import numpy as np

from modelyard import State
from modelyard.models.zoo.sentiment_lstm import SPEC as WHOLE
from modelyard.models.zoo.sentiment_lstm import SentimentRecipe

SMALL = {"epochs": 2, "max_tokens": 48, "batch_size": 64, "vector_size": 16, "learning_rate": 0.02}


def build(recipe: SentimentRecipe, state: State) -> Any:  # noqa: ARG001  # part of the contract
    """``int32 [N,L]`` -> probability ``[N,1]``, from the mean of the words' vectors."""
    vectors = state["vectors"].astype(np.float32)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((None,), dtype="int32", name="ids"),
            layers.Embedding(*vectors.shape, mask_zero=True, name="vectors"),
            layers.GlobalAveragePooling1D(),
            layers.Dense(1, name="log_odds"),
            layers.Activation("sigmoid"),
        ],
        name="sentiment_lstm",
    )
    model.get_layer("vectors").set_weights([vectors])
    return model


SPEC = replace(
    WHOLE,
    recipes={"quick": WHOLE.recipes["quick"].override(SMALL)},
    gate=replace(WHOLE.gate, sample_floor=0.5, max_ece=None),
    card=None,
    build=build,
)
