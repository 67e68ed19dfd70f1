"""A reviews' model that says how sure it is, for the fake model server."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from modelyard.models.registry.manifest import SignatureSpec, TensorSpec, TextLimits, VectorLimits
from modelyard.models.registry.store import Store
from modelyard.models.registry.uncertainty.record import CoverageRecord, TypicalityRecord, UncertaintyRecord
from modelyard.models.types import Array
from tests.support.fake_models import light
from tests.support.fakes import CLASSES, FakeModelServer, publish

SURE, LINE = "sure", "line"
SAID = (
    TensorSpec(name="atypicality", dtype="float32", shape=(None,)),
    TensorSpec(name="typical", dtype="bool", shape=(None,)),
)
RECORD = UncertaintyRecord(
    examples=500,
    temperature=1.2,
    ece_before=0.03,
    coverage=(
        CoverageRecord(percent=95, threshold=0.5, covered=0.951, mean_size=1.02),
        CoverageRecord(percent=99, threshold=0.1, covered=0.992, mean_size=1.31),
    ),
    typicality=TypicalityRecord(methods=("a distance",), layer="dense", examples=800, flagged=0.011),
)


def add_typicality(outputs: Mapping[str, Array], odd: Array) -> dict[str, Array]:
    return {**outputs, "typical": ~odd, "atypicality": np.where(odd, 3.5, 0.25).astype(np.float32)}


def judge_text(inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Sure of good texts; ``hm`` leaves both classes open, ``none`` none of them, and ``xyz`` is no word."""
    texts = inputs["text"]
    levels = {b"hm": (99, 95), b"none": (100, 100)}
    outputs = light(np.array([0.9 if b"good" in text else 0.6 for text in texts]))
    outputs["prediction_set"] = np.array([levels.get(text, (100, 95)) for text in texts], np.int32)
    return add_typicality(outputs, np.array([b"xyz" in text for text in texts]))


def double(inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Two times a number, give or take 1 and 2; above 100 it is odd."""
    value = inputs["vectors"] * 2
    ends = {
        f"interval_{percent}": np.stack([value - wide, value + wide], -1) for percent, wide in ((95, 1.0), (99, 2.0))
    }
    return add_typicality({"value": value, **ends}, inputs["vectors"][:, 0] > 100)


def serve(store: Store, server: FakeModelServer, model: str, **fields: Any) -> None:
    """Publishes one of the models, and has the server compute it."""
    text = TensorSpec(name="text", dtype="string", shape=(None,))
    sets = TensorSpec(name="prediction_set", dtype="int32", shape=(None, 2))
    vectors = TensorSpec(name="vectors", dtype="float32", shape=(None, 1))
    ends = tuple(TensorSpec(name=f"interval_{each}", dtype="float32", shape=(None, 1, 2)) for each in (95, 99))
    value = TensorSpec(name="value", dtype="float32", shape=(None, 1))
    manifests: dict[str, dict[str, Any]] = {
        SURE: {
            "task": "binary",
            "labels": ("negative", "positive"),
            "input": TextLimits(max_chars=100),
            "signatures": {"serving_default": SignatureSpec(inputs=(text,), outputs=(*CLASSES, sets, *SAID))},
        },
        LINE: {
            "task": "regression",
            "labels": (),
            "input": VectorLimits(size=1),
            "signatures": {"serving_default": SignatureSpec(inputs=(vectors,), outputs=(value, *ends, *SAID))},
        },
    }
    server.functions = {**server.functions, SURE: judge_text, LINE: double}
    version = publish(store, model, example=None, **{"uncertainty": RECORD, **manifests[model], **fields})
    server.loaded.add((model, version))
