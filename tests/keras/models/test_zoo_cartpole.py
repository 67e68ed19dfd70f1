"""The model that learns by trying: its episodes, its learning, and what it publishes."""

from pathlib import Path

import numpy as np
import pytest

from modelyard.models.data import Splits
from modelyard.models.registry.store import Store
from modelyard.models.spec import FitRun, PreparedData
from modelyard.models.zoo import cartpole
from modelyard.pipeline.evaluation.exported import Signature
from modelyard.pipeline.job import JobLocations, Published, TrainingJob
from modelyard.pipeline.processes.forkserver import ForkServer
from modelyard.pipeline.progress import Progress
from modelyard.pipeline.run import run_job


def test_an_episode_counts_until_the_pole_falls() -> None:
    """A driver that pushes to one side only is over within a dozen steps; the one made by hand lasts to the end."""
    falls = cartpole.play(lambda seen: np.ones(len(seen), np.int64), seed=1, episodes=20)
    lasts = cartpole.play(cartpole.follow_pole, seed=1, episodes=20)
    assert 7 < falls.mean_return < 13
    assert lasts.mean_return > 400
    assert len(falls.observations) == len(falls.actions) + 1 == len(falls.played) + 1
    assert lasts.played.sum(axis=0).max() == cartpole.STEPS


def test_a_step_before_the_fall_was_worse_than_expected_and_the_last_possible_one_was_not() -> None:
    """Who fell gets no more; who stands when time is up would have gone on."""
    values = np.full((cartpole.STEPS + 1, 2), 1.0, np.float32)
    played = np.ones((cartpole.STEPS, 2), bool)
    played[100:, 1] = False
    advantages = cartpole.estimate_advantages(values, played)
    assert np.abs(advantages[:, 0]).max() == pytest.approx(0, abs=1e-5)
    assert advantages[99, 1] == pytest.approx(1 - cartpole.DISCOUNT - 1.0)
    assert (np.diff(advantages[:100, 1]) <= 1e-6).all()


@pytest.mark.long
@pytest.mark.parametrize("last", [1, 2])
def test_a_cancelled_training_ends_where_it_reports(last: int) -> None:
    """Each epoch is reported with its returns; what the report raises goes through."""

    class Stopped(Exception):
        pass

    said: list[dict[str, float]] = []

    def report(epoch: int, metrics: object) -> None:
        said.append({"epoch": epoch, **dict(metrics)})  # type: ignore[call-overload]  # a mapping
        if epoch == last:
            raise Stopped

    recipe = cartpole.SPEC.recipes["quick"].override({"episodes": 4, "repeats": 1})
    run = FitRun(cartpole.build(recipe, {}), PreparedData(train=None, validation=None), recipe, report)
    with pytest.raises(Stopped):
        cartpole.fit(run)
    assert [one["epoch"] for one in said] == [*range(1, last + 1)]
    assert said[0].keys() == {"epoch", "loss", "mean_return", "val_mean_return"}


@pytest.mark.long
def test_a_job_publishes_a_driver_that_holds_the_pole(tmp_path: Path, forks: ForkServer) -> None:
    """`quick` passes the gate on 100 episodes; the version says what to do, and how well the pole stands."""
    import tensorflow as tf

    said: list[Progress] = []
    job = TrainingJob("cartpole", "quick", {}, "auto", "stable", "a test")
    outcome = run_job(job, JobLocations(tmp_path / "store", tmp_path, tmp_path / "work", ()), forks, said.append)
    assert isinstance(outcome, Published)
    manifest = outcome.manifest
    assert manifest.metrics["mean_return"] >= 475
    assert (manifest.labels, set(manifest.signatures)) == (("left", "right"), {"serving_default", "value"})
    returns = [progress.metrics["val_mean_return"] for progress in said if "val_mean_return" in progress.metrics]
    assert max(returns) > returns[0]
    loaded = tf.saved_model.load(str(Store(tmp_path / "store").path("cartpole", 1)))
    falling = np.array([[0, 0, 0.15, 1.0], [0, 0, -0.15, -1.0]], np.float32)
    answers = Signature(loaded.signatures["serving_default"])(falling)
    assert answers["class_id"].tolist() == [1, 0]
    np.testing.assert_allclose(answers["probabilities"].sum(axis=1), 1, atol=1e-6)
    upright, fallen = Signature(loaded.signatures["value"])(np.array([[0, 0, 0, 0], [0, 0, 0.2, 1.5]], np.float32))[
        "value"
    ]
    assert 0 <= fallen[0] < 0.7
    assert 0.9 < upright[0] <= 1


def test_its_data_is_what_a_driver_sees(tmp_path: Path) -> None:
    """Always the same, and more than the start of an episode: drift is measured against it."""
    first, second = (cartpole.observe(tmp_path) for _ in range(2))
    assert isinstance(first, Splits)
    np.testing.assert_array_equal(first.test.x, second.test.x)
    assert first.test.x.dtype == np.float32
    assert np.abs(first.test.x[:, 2]).max() > 0.05
    assert "gymnasium" not in vars(cartpole)  # who only reads the file does not need it
