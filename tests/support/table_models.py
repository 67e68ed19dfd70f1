"""Small Keras models with several inputs, exported as the pipeline exports them, and published."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from modelyard.models.data import Dataset, name_arrays
from modelyard.models.inputs import CategoryInput, DateInput, ImageInput, NumberInput, TextInput
from modelyard.models.registry.manifest import Manifest
from modelyard.models.registry.rollout import change_rollout
from modelyard.models.registry.store import Store
from modelyard.models.spec import ModelSpec
from modelyard.models.types import Array
from modelyard.pipeline.exporting.saved_model import write_saved_model
from modelyard.pipeline.stages.publish import choose_example, make_input_limits, read_signatures
from tests.support.versions import seal_as

CHURN, PAIR, SHOUT = "churn", "pair", "shout"
DATASET = Dataset("rows", "", read=lambda _: None)  # type: ignore[arg-type,return-value]  # nothing is trained


def strings(*values: str) -> Array:
    return np.array(values, dtype=object)


# --- a table ----------------------------------------------------------------------------------------------------------

CHURN_SPEC = ModelSpec(
    name=CHURN,
    summary="",
    dataset=DATASET,
    task="binary",
    labels=("stays", "leaves"),
    explain=False,
    input={
        "age": NumberInput(),
        "plan": CategoryInput(values=("True", "gold"), missing=True),
        "petal_length_cm": NumberInput(missing=True, title="petal length (cm)"),
        "since": DateInput(missing=True),
    },
)
CHURN_ROWS: Mapping[str, Array] = {
    "age": np.array([41, 30, 5, 70], np.float32),
    "plan": strings("gold", "True", "", "silver"),
    "petal_length_cm": np.array([1.5, np.nan, 0.25, -3], np.float32),
    "since": strings("2026-11-29", "2020-01-01T10:00:00", "", "1999-12-31"),
}


def build_churn() -> Any:
    """Each column moves the answer, and so does its being missing."""
    given = {
        "age": keras.Input((), name="age"),
        "petal_length_cm": keras.Input((), name="petal_length_cm"),
        "plan": keras.Input((), name="plan", dtype="string"),
        "since": keras.Input((), name="since", dtype="string"),
    }
    missing = keras.ops.isnan(given["petal_length_cm"])
    length = keras.ops.where(missing, 0.0, given["petal_length_cm"])
    plan = keras.layers.StringLookup(vocabulary=["", "True", "gold"], output_mode="one_hot")(given["plan"])
    year = keras.layers.StringLookup(vocabulary=["", "2026-11-29"], output_mode="one_hot")(given["since"])
    numbers = keras.ops.stack([given["age"] / 50, length, keras.ops.cast(missing, "float32")], axis=1)
    joined = keras.layers.Concatenate()([numbers, plan, year])
    return keras.Model(given, keras.layers.Dense(1, "sigmoid")(joined))


# --- an image and a text, several labels -----------------------------------------------------------------------------

PAIR_SPEC = ModelSpec(
    name=PAIR,
    summary="",
    dataset=DATASET,
    task="multilabel",
    labels=("red", "blue", "cat"),
    explain=False,
    input={"photo": ImageInput(4, 4, 3), "caption": TextInput(max_chars=50)},
)
PAIR_ROWS: Mapping[str, Array] = {
    "photo": np.stack([np.full((4, 4, 3), (250, 0, 10), np.uint8), np.full((4, 4, 3), (0, 5, 250), np.uint8)]),
    "caption": strings("a cat", "a dog"),
}


def build_pair() -> Any:
    photo, caption = keras.Input((4, 4, 3), name="photo"), keras.Input((), name="caption", dtype="string")
    colour = keras.ops.mean(photo, axis=(1, 2)) / 255
    cat = keras.layers.StringLookup(vocabulary=["a cat"], output_mode="one_hot")(caption)
    return keras.Model(
        {"photo": photo, "caption": caption},
        keras.layers.Dense(3, "sigmoid")(keras.layers.Concatenate()([colour, cat])),
    )


# --- a text to a text -------------------------------------------------------------------------------------------------

SHOUT_SPEC = ModelSpec(
    name=SHOUT,
    summary="",
    dataset=DATASET,
    task="text",
    input=TextInput(max_chars=50),
    signatures=lambda _, __: {"serving_default": lambda text: {"text": tf.strings.upper(text, encoding="utf-8")}},
)
SHOUT_ROWS = strings("é la", "b")


def build_shout() -> Any:
    """Nothing that the signature uses."""
    return keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])


MODELS: Mapping[str, tuple[ModelSpec, Any, Any]] = {
    CHURN: (CHURN_SPEC, build_churn, CHURN_ROWS),
    PAIR: (PAIR_SPEC, build_pair, PAIR_ROWS),
    SHOUT: (SHOUT_SPEC, build_shout, SHOUT_ROWS),
}


def publish(store: Store, name: str) -> tuple[Manifest, Any]:
    """A version of one of these, stable, and the Keras model that it was made of."""
    spec, build, rows = MODELS[name]
    keras.utils.set_random_seed(1)
    model = build()
    with store.staging(name) as staged:
        write_saved_model(spec, model, {}, name_arrays(spec.input, rows), staged)
        manifest = store.publish(staged, seal_as(name, **describe(spec, rows, staged)))
    change_rollout(store, name, lambda found: found.promote(manifest.version, by="test", reason="published"))
    return manifest, model


def describe(spec: ModelSpec, rows: Any, staged: Path) -> dict[str, Any]:
    """The fields of a manifest that say what a model takes and returns."""
    (staged / "assets.extra").mkdir(exist_ok=True)
    return {
        "task": spec.task,
        "labels": spec.labels,
        "input": make_input_limits(spec.input),
        "signatures": read_signatures(staged),
        "example": choose_example(rows),
    }
