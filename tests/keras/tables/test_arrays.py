"""Arrays of one's own in an ``.npz``: what they are follows from shape and type, parts from content."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from modelyard import ImageInput, SequenceInput, TextInput, VectorInput, arrays


def test_arrays_tell_what_they_are(tmp_path: Path) -> None:
    """By shape and type; several are inputs by name; parts follow from content."""
    rng = np.random.default_rng(0)
    stored = {
        "grey": rng.integers(0, 255, (100, 8, 6), np.uint8),
        "colour": rng.integers(0, 255, (100, 8, 6, 3), np.uint8),
        "vector": rng.normal(size=(100, 5)),
        "walk": rng.normal(size=(100, 7, 2)).astype(np.float32),
        "text": np.array([f"text {i}" for i in range(100)]),
        "y": rng.integers(0, 3, 100),
        "both": rng.integers(0, 2, (100, 2)),
        "price": rng.normal(size=100),
        "name": np.array(["no", "yes"])[rng.integers(0, 2, 100)],
    }
    np.savez(tmp_path / "x.npz", **stored)
    kinds = {
        "grey": ImageInput(8, 6),
        "colour": ImageInput(8, 6, 3),
        "vector": VectorInput(5),
        "walk": SequenceInput(2),
        "text": TextInput(),
    }
    for name, kind in kinds.items():
        splits = arrays("x.npz", x=name).read(tmp_path)
        assert splits.schema is not None
        assert splits.schema.input == kind
        assert len(splits.train) + len(splits.validation) + len(splits.test) == 100
    assert arrays("x.npz", x="grey").read(tmp_path).train.x.shape[1:] == (8, 6, 1)
    named = arrays("x.npz", x=("grey", "vector")).read(tmp_path)
    assert set(named.test.x) == {"grey", "vector"}
    tasks = {"y": "multiclass", "both": "multilabel", "price": "regression", "name": "binary"}
    for target, task in tasks.items():
        inspected = arrays("x.npz", x="vector", y=target).inspect
        assert inspected is not None
        assert inspected(tmp_path).task == task
    again = arrays("x.npz", x="vector").read(tmp_path)
    np.savez(tmp_path / "x.npz", **{k: v[:80] for k, v in stored.items()})
    fewer = arrays("x.npz", x="vector").read(tmp_path)
    assert {row.tobytes() for row in fewer.train.x} <= {row.tobytes() for row in again.train.x}
    assert replace(fewer.schema, labels=()) == arrays("x.npz", x="vector").inspect(tmp_path)  # type: ignore[misc,type-var]
