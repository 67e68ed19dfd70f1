"""Manifests for tests: complete, from as few arguments as possible."""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from modelyard.models.registry.manifest import (
    DataRecord,
    Environment,
    Manifest,
    RecipeRecord,
    SignatureSpec,
    TensorSpec,
    Training,
    VectorLimits,
    Verdict,
)
from modelyard.models.registry.store import Store

DEFAULTS: dict[str, Any] = {
    "task": "regression",
    "summary": "half plus version",
    "created_at": datetime(2026, 1, 1, tzinfo=UTC),
    "input": VectorLimits(size=1),
    "labels": (),
    "signatures": {
        "serving_default": SignatureSpec(
            inputs=(TensorSpec(name="vectors", dtype="float32", shape=(None, 1)),),
            outputs=(TensorSpec(name="value", dtype="float32", shape=(None, 1)),),
        )
    },
    "example": [1.0],
    "data": DataRecord(name="numbers", source="generated", fingerprint="0" * 64, train=1, validation=1, test=1),
    "recipe": RecipeRecord(name="quick", values={}),
    "training": Training(
        parameters=2, epochs=1, best_epoch=1, history=(), cpu_s=0.1, wall_s=0.1, weights_sha256="0" * 64
    ),
    "metrics": {"r2": 1.0},
    "baseline": None,
    "verdict": Verdict(
        accepted=True, reasons=("r2 reaches the floor",), metric="r2", value=1.0, champion=None, champion_value=None
    ),
    "environment": Environment(
        code="test", python="3", tensorflow="2", keras="3", numpy="2", backend="tensorflow", device="cpu"
    ),
}

SCALARS = {
    "serving_default": SignatureSpec(
        inputs=(TensorSpec(name="x", dtype="float32", shape=(None,)),),
        outputs=(TensorSpec(name="y", dtype="float32", shape=(None,)),),
    )
}
"""``signatures`` of a model that makes a number of each number."""
ROWS = {
    "serving_default": SignatureSpec(
        inputs=(TensorSpec(name="x", dtype="float32", shape=(None, 3)),),
        outputs=(
            TensorSpec(name="version", dtype="int64", shape=()),
            TensorSpec(name="y", dtype="float32", shape=(None, 3)),
        ),
    )
}
"""``signatures`` of a model that makes a row of each row of three numbers, and says its version."""


def publish_copy(store: Store, model: str, saved: Path, **fields: Any) -> None:
    """The next version of ``model``: a saved one with the signatures of ``SCALARS``, unless ``fields`` has others."""
    with store.staging(model) as staged:
        shutil.copytree(saved, staged, dirs_exist_ok=True)
        store.publish(staged, seal_as(model, **{"signatures": SCALARS, **fields}))


def seal_as(model: str, **fields: Any) -> Callable[[int, dict[str, str]], Manifest]:
    """A ``seal`` for ``Store.publish``; ``fields`` replace defaults."""
    return lambda version, files: Manifest(model=model, version=version, files=files, **{**DEFAULTS, **fields})
