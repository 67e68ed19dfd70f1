"""Models with named inputs, and with outputs in other forms than one class, for the fake model server."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from modelyard.models.registry.manifest import (
    CategoryLimits,
    DateLimits,
    ImageLimits,
    NamedLimits,
    NumberLimits,
    OneLimits,
    SequenceLimits,
    SignatureSpec,
    TensorSpec,
    TextLimits,
    VectorLimits,
)
from modelyard.models.registry.store import Store
from modelyard.models.types import Array
from tests.support.fake_models import light
from tests.support.fakes import CLASSES, FakeModelServer, publish

CHURN, PAIR, TAGS, SIZES, WRITER, STEPS = "churn", "pair", "tags", "sizes", "writer", "steps"

COLUMNS: Mapping[str, OneLimits] = {
    "age": NumberLimits(),
    "plan": CategoryLimits(values=("basic", "gold")),
    "tenure_months": NumberLimits(missing=True),
    "city": CategoryLimits(missing=True),
    "since": DateLimits(missing=True, title="signed up"),
    "petal_length_cm": NumberLimits(missing=True, title="petal length (cm)"),
}
ROW: Mapping[str, Any] = {
    "age": 41,
    "plan": "gold",
    "tenure_months": 7,
    "city": "Rome",
    "since": "2026-11-29",
    "petal_length_cm": 1.5,
}
SHAPES: Mapping[str, tuple[str, tuple[int | None, ...]]] = {
    "number": ("float32", ()),
    "category": ("string", ()),
    "date": ("string", ()),
    "text": ("string", ()),
    "vector": ("float32", (3,)),
    "sequence": ("float32", (None, 2)),
}
"""Type and row shape of a tensor by kind."""


def tensor(name: str, limits: OneLimits) -> TensorSpec:
    if isinstance(limits, ImageLimits):
        shape = (None, limits.height, limits.width, limits.channels)
        return TensorSpec(name=name, dtype="float32", shape=shape)
    dtype, row = SHAPES[limits.kind]
    return TensorSpec(name=name, dtype=dtype, shape=(None, *row))


def table(columns: Mapping[str, OneLimits], outputs: tuple[TensorSpec, ...] = CLASSES) -> dict[str, Any]:
    """Fields of a manifest, with inputs in the order of their names as SavedModels list them."""
    inputs = tuple(tensor(name, columns[name]) for name in sorted(columns))
    return {
        "task": "binary",
        "labels": ("no", "yes"),
        "input": NamedLimits(inputs=dict(columns)),
        "signatures": {"serving_default": SignatureSpec(inputs=inputs, outputs=outputs)},
    }


def output(name: str, dtype: str, *shape: int) -> tuple[TensorSpec]:
    return (TensorSpec(name=name, dtype=dtype, shape=(None, *shape)),)


def one(limits: OneLimits, name: str, outputs: tuple[TensorSpec, ...], **fields: Any) -> dict[str, Any]:
    """Fields of a manifest with one input."""
    signature = SignatureSpec(inputs=(tensor(name, limits),), outputs=outputs)
    return {"input": limits, "signatures": {"serving_default": signature}, **fields}


PAIR_INPUTS: Mapping[str, OneLimits] = {
    "photo": ImageLimits(height=2, width=2, channels=3, max_pixels=10_000),
    "caption": TextLimits(max_chars=50),
    "weights": VectorLimits(size=3),
}
ENCODED = SignatureSpec(
    inputs=(
        tensor("caption", PAIR_INPUTS["caption"]),
        TensorSpec(name="photo_bytes", dtype="string", shape=(None,)),
        tensor("weights", PAIR_INPUTS["weights"]),
    ),
    outputs=CLASSES,
)
TABLE = table(PAIR_INPUTS)
MANIFESTS: Mapping[str, Mapping[str, Any]] = {
    CHURN: table(COLUMNS),
    PAIR: {**TABLE, "signatures": {"image_bytes": ENCODED, **TABLE["signatures"]}},
    TAGS: one(
        TextLimits(max_chars=100),
        "text",
        output("probabilities", "float32", 3),
        task="multilabel",
        labels=("action", "comedy", "war"),
    ),
    SIZES: one(
        VectorLimits(size=3), "vectors", output("value", "float32", 2), task="regression", labels=("width", "height")
    ),
    WRITER: one(TextLimits(max_chars=100), "text", output("text", "string"), task="text", labels=()),
    STEPS: one(SequenceLimits(size=2, max_steps=4), "sequences", CLASSES, task="binary", labels=("no", "yes")),
}


def churn(inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Who pays for gold stays."""
    return light(np.array([0.9 if plan == b"gold" else 0.1 for plan in inputs["plan"]]))


def tag(inputs: Mapping[str, Array]) -> dict[str, Array]:
    """A label for each of three words."""
    rows = [[0.9 * (word in text) + 0.05 for word in (b"fight", b"laugh", b"army")] for text in inputs["text"]]
    return {"probabilities": np.array(rows, np.float32)}


FUNCTIONS: Mapping[str, Callable[[dict[str, Array]], dict[str, Array]]] = {
    CHURN: churn,
    PAIR: lambda inputs: light(np.array([0.9 if b"cat" in text else 0.1 for text in inputs["caption"]])),
    TAGS: tag,
    SIZES: lambda inputs: {"value": inputs["vectors"][:, :2] * 2},
    WRITER: lambda inputs: {"text": np.array([b"<" + text + b">" for text in inputs["text"]], object)},
    STEPS: lambda inputs: light(inputs["sequences"].mean(axis=(1, 2))),
}


def serve(store: Store, server: FakeModelServer, *models: str) -> None:
    """Publishes models, and has the server compute them."""
    for model in models:
        version = publish(store, model, **{"example": None, **MANIFESTS[model]})
        server.loaded.add((model, version))
        server.functions[model] = FUNCTIONS[model]
