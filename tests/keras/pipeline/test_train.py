"""Fitting: seeded, checkpointed, reported; the same recipe gives the same weights."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from modelyard.models.data import Split, Splits
from modelyard.models.inputs import VectorInput
from modelyard.models.recipes import Recipe
from modelyard.models.spec import Gate, ModelSpec, PreparedData
from modelyard.pipeline.arrays import load_split
from modelyard.pipeline.errors import TrainingFailed
from modelyard.pipeline.fitting.compiling import make_learning_rate, make_smoothed_crossentropy
from modelyard.pipeline.fitting.devices import prepare_devices
from modelyard.pipeline.processes.forkserver import ForkServer
from modelyard.pipeline.progress import Progress
from modelyard.pipeline.results import TrainedModel
from modelyard.pipeline.stages.publish import hash_weights
from modelyard.pipeline.stages.train import train


class Pairs(keras.utils.PyDataset):
    """Two numbers, and whether the first is larger."""

    def __init__(self, split: Split, batch_size: int) -> None:
        super().__init__()
        self._split, self._size = split, batch_size

    def __len__(self) -> int:
        return len(self._split) // self._size

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        rows = slice(index * self._size, (index + 1) * self._size)
        return self._split.x[rows], self._split.y[rows]


def build(_: Recipe, __: object) -> Any:
    layers = [keras.Input((2,)), keras.layers.Dense(8, "relu"), keras.layers.Dropout(0.1)]
    return keras.Sequential([*layers, keras.layers.Dense(2, "softmax")])


def split(count: int, seed: int) -> Split:
    x = np.random.default_rng(seed).normal(size=(count, 2)).astype(np.float32)
    return Split(x, (x[:, 0] > x[:, 1]).astype(np.int32))


SPLITS = Splits(split(512, 0), split(128, 1), split(128, 2))
SPEC = ModelSpec(
    name="larger",
    task="multiclass",
    summary="",
    input=VectorInput(2),
    labels=("no", "yes"),
    dataset=None,  # type: ignore[arg-type]  # fitting is given its splits
    recipes={},
    gate=Gate("accuracy", 0.9, 0.9, 0.01),
    prepare=lambda splits, recipe: PreparedData(
        Pairs(splits.train, recipe.batch_size), Pairs(splits.validation, recipe.batch_size)
    ),
    build=build,
)
RECIPE = Recipe(epochs=4, batch_size=32, learning_rate=0.02)


def fit(work: Path, recipe: Recipe = RECIPE, said: list[Progress] | None = None) -> TrainedModel:
    work.mkdir(exist_ok=True)
    return train(
        SPEC,
        SPLITS,
        recipe,
        prepare_devices(recipe),
        work,
        work / "checkpoints",
        (said if said is not None else []).append,
    )


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainedModel, list[Progress]]:
    """By ``RECIPE``, and what was reported meanwhile."""
    said: list[Progress] = []
    return fit(tmp_path_factory.mktemp("fitted"), said=said), said


@pytest.fixture(scope="module")
def ruined(tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    """With a rate that ruins the model at once."""
    recipe = replace(RECIPE, epochs=6, learning_rate=8.0, schedule="constant")
    return fit(tmp_path_factory.mktemp("ruined"), recipe)


def test_the_same_recipe_gives_the_same_weights(tmp_path: Path, fitted: tuple[TrainedModel, list[Progress]]) -> None:
    """Bit for bit; another seed gives others."""
    again, other = (
        hash_weights(fit(tmp_path / name, replace(RECIPE, seed=seed)).weights)
        for name, seed in (("again", RECIPE.seed), ("other", RECIPE.seed + 1))
    )
    assert hash_weights(fitted[0].weights) == again != other


@pytest.mark.long
def test_same_seed_gives_the_same_weights_in_another_process(
    reviews: TrainedModel, tmp_path: Path, forks: ForkServer
) -> None:
    """On one thread every weight is equal to the last bit, whatever the process and its hash seed."""
    with forks.start("tests.support.forked", "fit_reviews", str(tmp_path)) as process:
        hash_seed, other = process.stdout.read().decode().split()
    assert hash_seed != str(hash("seed"))
    assert hash_weights(reviews.weights) == other
    assert len(other) == 64


def test_fitting_keeps_what_it_saw(fitted: tuple[TrainedModel, list[Progress]]) -> None:
    """Examples from all over an epoch, from which the export learns what is typical."""
    assert fitted[0].seen
    seen = load_split(str(fitted[0].seen))
    assert len(seen) == len(SPLITS.train)
    assert set(map(tuple, seen.x)) <= set(map(tuple, SPLITS.train.x))


def test_progress_tells_epochs_steps_and_what_is_left(fitted: tuple[TrainedModel, list[Progress]]) -> None:
    """The last report is the last step of the last epoch, with validation metrics and nothing left to do."""
    last = fitted[1][-1]
    assert (last.stage, last.epoch, last.epochs, last.step, last.steps, last.eta_s) == ("train", 4, 4, 16, 16, 0)
    assert {"loss", "accuracy", "val_loss", "val_accuracy"} <= set(last.metrics)


def test_the_last_step_of_an_epoch_is_reported_when_the_epoch_has_ended(tmp_path: Path) -> None:
    """Whoever acts on it finds validation metrics and a checkpoint, also where the only step is the first of all."""
    said: list[Progress] = []
    one_step = replace(
        SPEC, prepare=lambda splits, _: PreparedData(Pairs(splits.train, 512), Pairs(splits.validation, 128))
    )
    recipe = replace(RECIPE, epochs=2)
    train(one_step, SPLITS, recipe, prepare_devices(recipe), tmp_path, tmp_path / "checkpoints", said.append)
    epochs = [(progress.epoch, "val_loss" in progress.metrics) for progress in said if progress.step == 1]
    assert epochs == [(1, True), (2, True)]


def test_the_restored_weights_are_those_of_the_best_epoch(ruined: TrainedModel) -> None:
    """An early epoch is restored, and its file is there."""
    losses = [epoch["val_loss"] for epoch in ruined.history]
    assert ruined.best_epoch == 1 + losses.index(min(losses))
    assert ruined.weights.exists()


@pytest.mark.long  # test_checkpoint.py has such a run, too
def test_early_stopping_ends_a_hopeless_run(tmp_path: Path) -> None:
    """No better validation loss for one epoch: stop."""
    recipe = replace(RECIPE, epochs=50, learning_rate=8.0, schedule="constant", patience=1)
    assert len(fit(tmp_path, recipe).history) < 50


def test_old_checkpoints_go(ruined: TrainedModel) -> None:
    """The newest two stay; the weights of the best epoch are in the newest."""
    assert {path.name for path in ruined.weights.parent.parent.iterdir()} == {"epoch-0005", "epoch-0006"}
    assert ruined.weights.parent.name == "epoch-0006"


def make_diverging(epoch: int) -> ModelSpec:
    """A number, of which one is infinite in that epoch."""

    class Spoiled(Pairs):
        done = 0

        def __getitem__(self, index: int) -> tuple[Any, Any]:
            x, y = super().__getitem__(index)
            self.done += index == 3
            spoiled = self.done == epoch and index == 3
            return x, np.full((len(y), 1), np.inf if spoiled else 0.5, np.float32)

    def prepare(splits: Splits, _: Recipe) -> PreparedData:
        return PreparedData(Spoiled(splits.train, 32), Pairs(splits.validation, 128))

    return replace(SPEC, task="regression", labels=("difference",), prepare=prepare, build=build_number)


def build_number(_: Recipe, __: object) -> Any:
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])


@pytest.mark.parametrize(("keep", "epoch"), [("best", 1), pytest.param("last", 3, marks=pytest.mark.long)])
def test_a_loss_that_is_no_number_ends_training_at_once(keep: str, epoch: int, tmp_path: Path) -> None:
    """It says where, and what may help."""
    said: list[Progress] = []
    recipe = replace(RECIPE, keep=keep)
    with pytest.raises(TrainingFailed, match=f"loss is (nan|inf) after step 4 of epoch {epoch}: a lower learning_rate"):
        train(
            make_diverging(epoch), SPLITS, recipe, prepare_devices(recipe), tmp_path, tmp_path / "points", said.append
        )
    assert len([progress for progress in said if "val_loss" in progress.metrics]) == epoch - 1


def test_what_was_learned_before_is_kept(tmp_path: Path) -> None:
    """Where the recipe keeps the best epoch; the job says so."""
    said: list[Progress] = []
    found = train(
        make_diverging(3), SPLITS, RECIPE, prepare_devices(RECIPE), tmp_path, tmp_path / "points", said.append
    )
    assert len(found.history) == 2
    assert found.best_epoch in (1, 2)
    assert f"keeping epoch {found.best_epoch}, as loss is" in said[-1].message
    assert "step 4 of epoch 3" in said[-1].message


@pytest.fixture(scope="module")
def averaged(tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    """With an exponential moving average, of the last epoch."""
    return fit(tmp_path_factory.mktemp("averaged"), replace(RECIPE, ema=0.9, keep="last"))


@pytest.mark.long
def test_keep_last_keeps_the_last_epoch(averaged: TrainedModel) -> None:
    """For schedules that end cold."""
    assert averaged.best_epoch == 4


def test_averaged_weights_are_another_model(
    averaged: TrainedModel, fitted: tuple[TrainedModel, list[Progress]]
) -> None:
    """An exponential moving average is saved instead of the raw weights."""
    assert fitted[0].best_epoch == averaged.best_epoch
    assert hash_weights(averaged.weights) != hash_weights(fitted[0].weights)


def test_one_cycle_rises_to_the_peak_and_falls_to_nothing() -> None:
    """Warm-up over its share of the steps, then a cosine."""
    schedule = make_learning_rate(replace(RECIPE, learning_rate=1.0, warmup=0.25), steps=100)
    rates = [float(schedule(step)) for step in (0, 25, 100)]
    assert rates == pytest.approx([0.04, 1.0, 0.0], abs=1e-6)


def test_a_graph_computes_its_rate_once() -> None:
    """However many variables ask; outside of graphs each step has its own."""
    rate = make_learning_rate(replace(RECIPE, learning_rate=1.0, warmup=0.25), steps=100)

    def ask_twice(step: Any) -> Any:
        assert rate(step) is rate(step)
        return rate(step)

    traced = tf.function(ask_twice, input_signature=[tf.TensorSpec((), tf.int64)])
    for step in (0, 10, 50, 100):
        assert float(traced(tf.constant(step, tf.int64))) == pytest.approx(float(rate(step)))


def test_smoothing_spreads_a_share_of_the_target() -> None:
    """Cross-entropy with the smoothed target, written out."""
    probabilities = np.array([[0.7, 0.2, 0.1]], np.float32)
    smooth = np.full(3, 0.15 / 3) + np.array([0.85, 0, 0])
    expected = -float((smooth * np.log(probabilities[0])).sum())
    found = make_smoothed_crossentropy(3, 0.15)(np.array([0]), probabilities)
    assert float(np.ravel(found)[0]) == pytest.approx(expected, rel=1e-5)
