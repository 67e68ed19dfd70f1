"""Warm starts: training that begins with the weights of the version that answers, and the preprocessing they fit."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from modelyard.models.catalog import load_spec
from modelyard.models.data import Split, Splits
from modelyard.models.errors import InvalidRecipe, UnknownName
from modelyard.models.recipes import Recipe
from modelyard.models.registry.rollout import change_rollout
from modelyard.models.registry.store import Store
from modelyard.models.spec import ModelSpec, PreparedData
from modelyard.models.text.vocabulary import learn_vocabulary
from modelyard.pipeline.arrays import load_arrays, save_arrays
from modelyard.pipeline.fitting.checkpoint import Checkpoint
from modelyard.pipeline.fitting.warm_start import STATE, WEIGHTS, StartVersion, find_start_version
from modelyard.pipeline.job import Cancelled, Measured, TrainingJob
from modelyard.pipeline.processes.forkserver import ForkServer
from modelyard.pipeline.progress import Progress
from modelyard.pipeline.results import TrainedModel
from modelyard.pipeline.run import run_job
from modelyard.pipeline.stages.publish import hash_weights
from tests.keras.pipeline.conftest import locations
from tests.support.fitting import REVIEWS, REVIEWS_RECIPE, fit, ignore
from tests.support.reviews import make_splits

NEURON, DIGITS = load_spec("neuron"), load_spec("mnist_mlp")
COLD: Recipe = replace(NEURON.recipes["quick"], epochs=2, batch_size=100)
WARM = replace(COLD, init="stable")
JOB = TrainingJob("neuron", "quick", {"init": "stable"}, "auto", "stable", "a test", job="job-0002", name="job-0002.1")


@cache
def points() -> Splits:
    return NEURON.dataset.read(Path())


def version_of(trained: TrainedModel, folder: Path, number: int = 1) -> StartVersion:
    """A version as the store has it, as far as a warm start needs it."""
    for source, name in ((trained.weights, WEIGHTS), (trained.state, STATE)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(source.read_bytes())
    return StartVersion(number, folder)


def save_untrained(spec: ModelSpec, splits: Splits, recipe: Recipe, folder: Path, number: int = 1) -> StartVersion:
    """A version of a model as it is before its first step."""
    keras.utils.set_random_seed(number)
    state = spec.prepare(splits, recipe).state
    (folder / WEIGHTS).parent.mkdir(parents=True)
    save_arrays(folder / STATE, state)
    spec.build(recipe, state).save_weights(folder / WEIGHTS)
    return StartVersion(number, folder)


def digits(count: int) -> Splits:
    generator = np.random.default_rng(0)
    y = generator.integers(0, 10, count).astype(np.int32)
    x = generator.integers(0, 40, (count, 28, 28, 1)).astype(np.uint8)
    x[np.arange(count), 2 * y + 2] += 150  # a bright row for each class
    part = Split(x, y)
    return Splits(part, part, part)


def first_loss(trained: TrainedModel) -> float:
    return trained.history[0]["val_loss"]


# --- it begins better -------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_a_hidden_layer_begins_better_than_with_random_weights(tmp_path: Path) -> None:
    """A model with layers, on images."""
    splits, recipe = digits(500), replace(DIGITS.recipes["quick"], epochs=2, min_steps=1)
    cold = fit(DIGITS, splits, recipe, tmp_path / "cold")
    warm = fit(DIGITS, splits, recipe, tmp_path / "warm", version_of(cold, tmp_path / "1"))
    assert first_loss(warm) < first_loss(cold) / 2


@pytest.mark.long
def test_reviews_begin_with_the_vocabulary_that_the_weights_fit(tmp_path: Path, reviews: TrainedModel) -> None:
    """Other reviews would give another one; all of the state but the length limit is kept."""
    more = replace(
        make_splits(), train=Split(np.append(make_splits().train.x, ["zebra zebra"] * 4), np.arange(204) % 2)
    )
    recipe = replace(REVIEWS_RECIPE, epochs=1, max_words=40)
    warm = fit(REVIEWS, more, recipe, tmp_path / "warm", version_of(reviews, tmp_path / "1"))
    before, after = load_arrays(reviews.state), load_arrays(warm.state)
    assert before.keys() == after.keys()
    assert [name for name in before if not np.array_equal(before[name], after[name])] == ["max_tokens"]
    assert "zebra" in learn_vocabulary(more.train.x, REVIEWS_RECIPE.vocabulary_size, REVIEWS_RECIPE.min_texts)[0]
    assert first_loss(warm) < first_loss(reviews)


# --- it is refused ----------------------------------------------------------------------------------------------------


def test_without_a_stable_version_nothing_begins(tmp_path: Path, forks: ForkServer) -> None:
    """Nor is anything trained."""
    said: list[Progress] = []
    with pytest.raises(InvalidRecipe, match="'init': expected a stable version of neuron to start from, received none"):
        run_job(JOB, locations(tmp_path), forks, said.append)
    assert "train" not in {progress.stage for progress in said}


def test_weights_of_another_shape_are_refused_before_training(tmp_path: Path) -> None:
    """With the array, and both shapes; random weights have them, too."""
    start = save_untrained(REVIEWS, make_splits(), REVIEWS_RECIPE, tmp_path / "1")
    text = r"version 1 do not fit this recipe: .*: expected \(.*16.*\), received \(.*8.*\); use its values"
    with pytest.raises(InvalidRecipe, match=text):
        fit(REVIEWS, make_splits(), replace(REVIEWS_RECIPE, filters=16), tmp_path / "filters", start)
    with pytest.raises(InvalidRecipe, match=r"'vector_size': expected 8, .* received 16"):
        fit(REVIEWS, make_splits(), replace(REVIEWS_RECIPE, vector_size=16), tmp_path / "vectors", start)
    assert not list(tmp_path.glob("*/checkpoints/epoch-*")), "none was trained"


def test_a_model_that_must_learn_its_preprocessing_anew_is_refused(tmp_path: Path) -> None:
    """Weights fit the state that they were trained with; one that comes out the same is no obstacle."""

    def prepare(splits: Splits, recipe: Recipe) -> PreparedData:
        found: PreparedData = NEURON.prepare(splits, recipe)
        return replace(found, state={"mean": splits.train.x.mean(axis=0)})

    spec = replace(NEURON, prepare=prepare)
    start = save_untrained(spec, points(), COLD, tmp_path / "1")
    moved = replace(points(), train=Split(points().train.x + 1, points().train.y))
    assert fit(spec, points(), WARM, tmp_path / "same", start).started_from == 1
    with pytest.raises(InvalidRecipe, match=r"expected the preprocessing .* received another mean"):
        fit(spec, moved, WARM, tmp_path / "other", start)


# --- it is interrupted ------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_a_resumed_attempt_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    """The same weights as without a break, although another version has become stable meanwhile."""
    store = Store(tmp_path / "store")
    for number in (1, 2):
        save_untrained(NEURON, points(), COLD, store.path("neuron", number), number)
    change_rollout(store, "neuron", lambda now: now.promote(1, by="t", reason="r"))

    def begin(name: str, report: Any = ignore) -> TrainedModel:
        start = find_start_version(store, "neuron", WARM, tmp_path / name / "checkpoints")
        return fit(NEURON, points(), WARM, tmp_path / name, start, report)

    def stop(progress: Progress) -> None:
        if progress.epoch == 1 and progress.step == progress.steps:
            raise Cancelled

    straight = begin("straight")
    with pytest.raises(Cancelled):
        begin("broken", stop)
    change_rollout(store, "neuron", lambda now: now.promote(2, by="t", reason="r"))
    said: list[Progress] = []
    resumed, later = begin("broken", said.append), begin("later")
    assert "resuming after epoch 1, from its checkpoint" in [progress.message for progress in said]
    assert (straight.started_from, resumed.started_from, later.started_from) == (1, 1, 2)
    assert hash_weights(resumed.weights) == hash_weights(straight.weights) != hash_weights(later.weights)


def test_what_a_checkpoint_belongs_to_must_still_be_there(tmp_path: Path) -> None:
    """Its preprocessing is needed; as to those of an earlier release, they began with random weights."""
    store = Store(tmp_path / "store")
    save_untrained(NEURON, points(), COLD, store.path("neuron", 1))
    change_rollout(store, "neuron", lambda now: now.promote(1, by="t", reason="r"))
    assert find_start_version(store, "neuron", COLD, tmp_path / "checkpoints") is None
    assert find_start_version(store, "neuron", WARM, tmp_path / "checkpoints") == StartVersion(
        1, store.path("neuron", 1)
    )
    (store.path("neuron", 1) / WEIGHTS).unlink()
    with pytest.raises(UnknownName, match="version 1 of neuron, which training starts from, is not in the store"):
        find_start_version(store, "neuron", WARM, tmp_path / "checkpoints")
    assert Checkpoint.model_validate_json('{"history": []}').started_from is None


# --- what only measures -----------------------------------------------------------------------------------------------


def test_a_job_that_publishes_nothing_says_what_it_reached_on_the_validation_split(
    tmp_path: Path, forks: ForkServer
) -> None:
    """No version, no export, nothing that reads the test split."""
    said: list[Progress] = []
    outcome = run_job(replace(JOB, overrides={"epochs": 2}, rollout="none"), locations(tmp_path), forks, said.append)
    assert isinstance(outcome, Measured)
    assert outcome.metrics.keys() == {"loss", "r2"}
    assert Store(tmp_path / "store").versions("neuron") == ()
    assert {progress.stage for progress in said} <= {"data", "rehearse", "train"}
