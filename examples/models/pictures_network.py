"""Which of two photographs is a piece from? With a network of one's own."""

import keras
from keras import layers

from modelyard import Gate, ModelSpec, Recipe, image_folder


def build(recipe, state):
    """``float32 [N,64,64,3]``, 0..255 -> the probability of the second class."""
    images = keras.Input((64, 64, 3), name="images")
    x = layers.Rescaling(1 / 255)(images)
    for channels in (8, 16, 32):
        x = layers.Conv2D(channels, 3, strides=2, activation="relu")(x)
    return keras.Model(images, layers.Dense(1, activation="sigmoid")(layers.Flatten()(x)))


SPEC = ModelSpec(
    dataset=image_folder("../data/pictures", size=(64, 64)),
    build=build,
    recipes={"quick": Recipe(epochs=4, batch_size=32, learning_rate=3e-3)},
    gate=Gate(metric="accuracy", floor=0.9),
)
