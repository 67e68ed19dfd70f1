"""One vector without steps of its own: standardised inside the model, a network on it, a linear model as baseline."""

from pathlib import Path

import numpy as np
import pytest

from modelyard import ModelSpec, VectorInput, arrays
from modelyard.models.resolve import resolve
from modelyard.pipeline.arrays import load_arrays
from modelyard.pipeline.fitting.devices import prepare_devices
from modelyard.pipeline.stages.train import train


@pytest.mark.long
def test_an_npz_is_enough_for_a_model(tmp_path: Path) -> None:
    """Numbers far from 0 and of very different size are learned from as they are."""
    rng = np.random.default_rng(0)
    x = rng.normal([1e4, -3, 0], [1e3, 1e-2, 1], (400, 3))
    np.savez(tmp_path / "x.npz", x=x, y=3 * (x[:, 0] - 1e4) / 1e3 + 500 * (x[:, 1] + 3) + 1_000)
    given = ModelSpec(name="it", dataset=arrays("x.npz"), file=tmp_path / "it.py")
    splits = given.dataset.read(tmp_path)
    spec = resolve(given, splits.schema)
    assert (spec.input, spec.task, spec.gate.metric) == (VectorInput(3), "regression", "r2")
    recipe = spec.recipes["quick"].override({"epochs": 2, "min_steps": 250})
    trained = train(spec, splits, recipe, prepare_devices(recipe), tmp_path, tmp_path / "checkpoints", lambda _: None)
    assert trained.validation["r2"] > 0.95
    model = spec.build(recipe, load_arrays(trained.state))
    model.load_weights(trained.weights)
    predicted = np.asarray(model(splits.test.x))[:, 0]
    assert np.corrcoef(predicted, splits.test.y)[0, 1] > 0.97
    assert spec.baseline is not None
    assert spec.baseline(splits).value == pytest.approx(1, abs=1e-3)


def test_a_baseline_is_of_the_metric_that_versions_are_compared_by(tmp_path: Path) -> None:
    """A spec with a gate of another metric has none: two metrics side by side would mislead."""
    from modelyard import Gate

    np.savez(tmp_path / "x.npz", x=np.arange(120.0).reshape(40, 3), y=np.arange(40) % 2)
    given = ModelSpec(name="it", dataset=arrays("x.npz"), gate=Gate("roc_auc", floor=0.5), file=tmp_path / "it.py")
    assert given.dataset.inspect is not None
    assert resolve(given, given.dataset.inspect(tmp_path)).baseline is None
