"""Which of three cultivars is a wine from? With a network of one's own behind the default preprocessing."""

import keras

from modelyard import Gate, ModelSpec, Recipe, table


def build(recipe, state):
    """``state["features"]`` names the numbers that the columns were turned into."""
    features = keras.Input((len(state["features"]),), name="features")
    x = keras.layers.Dense(32, activation="relu")(features)
    x = keras.layers.Dropout(0.3)(x)
    return keras.Model(features, keras.layers.Dense(3, activation="softmax", name="cultivar")(x))


SPEC = ModelSpec(
    dataset=table("../data/wine.csv", target="cultivar"),
    build=build,
    recipes={"quick": Recipe(epochs=60, batch_size=16, learning_rate=0.01)},
    gate=Gate(metric="accuracy", floor=0.85),
)
