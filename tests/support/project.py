"""A user's project with a small model that needs no data of its own."""

from pathlib import Path

LINE = '''"""Which number follows from x?"""

import keras
import numpy as np
from modelyard import Batches, Dataset, Gate, ModelSpec, PreparedData, Recipe, Split, Splits, VectorInput


def read(folder):
    from features import SLOPE  # late, as a training may be

    def split(count):
        x = np.linspace(-1 + 1 / count, 1 - 1 / count, count, dtype=np.float32)  # no part has a row of another
        return Split(x[:, None], SLOPE * x)

    return Splits(split(400), split(50), split(60))


def prepare(splits, recipe):
    train, validation = splits.train, splits.validation
    return PreparedData(
        Batches(train.x, train.y[:, None], recipe.batch_size, seed=recipe.seed),
        Batches(validation.x, validation.y[:, None], batch_size=50),
    )


def build(recipe, state):
    import features

    return keras.Sequential([keras.Input((1,), name="vectors"), keras.layers.Dense(1), *features.make_layers()])


SPEC = ModelSpec(
    task="regression",
    input=VectorInput(1),
    dataset=Dataset("a line", "", read),
    recipes={"quick": Recipe(epochs=6, batch_size=16, optimizer="sgd", learning_rate=0.05, keep="last")},
    gate=Gate("r2", floor=0.9),
    explain=False,
    prepare=prepare,
    build=build,
)
'''
FEATURES = """import keras

SLOPE = 2.0


def make_layers():
    return [keras.layers.Rescaling(1.0)]
"""
BROKEN = "import json\nSPEC = ModelSpec(\n"


def make_project(folder: Path) -> Path:
    """``models/line.py`` and a helper, and settings. Returns the folder of models."""
    models = folder / "models"
    models.mkdir(parents=True)
    (models / "line.py").write_text(LINE)
    (models / "features.py").write_text(FEATURES)
    (folder / "modelyard.toml").write_text('models = ["models"]\n')
    return models
