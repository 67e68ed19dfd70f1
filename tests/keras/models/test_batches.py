"""Batches: what an epoch holds depends on the seed and the epoch alone, also inside Keras's own loop."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from modelyard.models.batches import Batches
from modelyard.models.recipes import Recipe
from modelyard.models.types import Array

X = np.arange(20, dtype=np.float32)[:, None]
Y = np.arange(20, dtype=np.int32)


def jitter(x: Array, generator: np.random.Generator) -> Array:
    return x + generator.uniform(0.1, 0.2, x.shape).astype(np.float32)


def epoch_of(batches: Batches) -> list[list[float]]:
    return [batches[index][0].ravel().tolist() for index in range(len(batches))]


def labels_of(batches: Batches) -> list[int]:
    return [int(label) for index in range(len(batches)) for label in batches[index][1]]


def test_training_batches_are_full_and_never_repeat_an_example() -> None:
    """An epoch is shuffled, leaves out only what does not fill a batch, and keeps inputs beside their targets."""
    batches = Batches(X, Y, 6, seed=0)
    labels = labels_of(batches)
    assert len(batches) == 3
    assert len(set(labels)) == len(labels) == 18
    assert labels != sorted(labels)
    assert np.concatenate(epoch_of(batches)).tolist() == labels


def test_resumed_run_sees_what_an_uninterrupted_one_would_have_seen() -> None:
    """Order and augmentation depend on seed and epoch alone; setting ``epoch`` goes on from there."""
    straight, resumed = (Batches(X, Y, 6, seed=5, augment=jitter) for _ in range(2))
    epochs = []
    for _ in range(3):
        epochs.append(epoch_of(straight))
        straight.on_epoch_end()
    resumed.epoch = 2
    assert epoch_of(resumed) == epochs[2]
    assert epochs[0] != epochs[1]


def test_reading_a_batch_again_or_out_of_turn_changes_nothing() -> None:
    """Keras reads the first batches before it starts; that must not shift the randomness."""
    batches, fresh = (Batches(X, Y, 6, seed=5, augment=jitter) for _ in range(2))
    batches[2], batches[0]
    assert epoch_of(batches) == epoch_of(fresh)


class TurnsTheEpoch:
    """Targets; reading their number begins the next epoch."""

    def __init__(self) -> None:
        self.turn: Callable[[], None] = lambda: None

    def __len__(self) -> int:
        self.turn()
        return len(Y)

    def __getitem__(self, rows: Any) -> Array:
        return Y[rows]


def test_reader_that_is_left_of_the_last_epoch_does_not_plan_the_next() -> None:
    """Keras leaves a thread behind that reads ahead: the epoch may turn in the middle of its work."""
    y: Any = TurnsTheEpoch()
    batches = Batches(X, y, 6, seed=5)
    y.turn = lambda: setattr(batches, "epoch", 1)
    batches[0]
    fresh = Batches(X, Y, 6, seed=5)
    fresh.epoch = 1
    assert epoch_of(batches) == epoch_of(fresh)


def test_several_inputs_come_together() -> None:
    """A batch has the same rows of each."""
    batches = Batches({"one": X, "two": X[:, 0] + 1}, Y, 5, seed=0)
    x, y = batches[1]
    np.testing.assert_array_equal(x["two"], x["one"][:, 0] + 1)
    plain, labels = Batches(X, Y, 5, seed=0)[1]
    np.testing.assert_array_equal(x["one"], plain)
    np.testing.assert_array_equal(y, labels)


def test_seeds_give_different_orders() -> None:
    """Another seed, another order."""
    assert labels_of(Batches(X, Y, 5, seed=1)) != labels_of(Batches(X, Y, 5, seed=2))


def test_augmentation_does_not_touch_the_data() -> None:
    """Inputs are varied in copies."""
    before = X.copy()
    epoch_of(Batches(X, Y, 5, seed=0, augment=jitter))
    np.testing.assert_array_equal(X, before)


def test_without_a_seed_everything_comes_once_in_order() -> None:
    """Validation leaves nothing out: the last batch is smaller."""
    batches = Batches(X, Y, 6)
    assert labels_of(batches) == Y.tolist()
    assert len(batches[len(batches) - 1][1]) == 2


def test_fewer_examples_than_a_batch_still_train() -> None:
    """A tiny dataset is one batch, not none."""
    batches = Batches(X[:3], Y[:3], 64, seed=0)
    assert len(batches) == 1
    assert sorted(labels_of(batches)) == [0, 1, 2]


def test_passes_repeat_the_data_in_new_orders() -> None:
    """Each pass of an epoch holds every example once."""
    labels = labels_of(Batches(X, Y, 5, seed=0, passes=3))
    thirds = [labels[start : start + 20] for start in (0, 20, 40)]
    assert [sorted(third) for third in thirds] == [Y.tolist()] * 3
    assert thirds[0] != thirds[1] != thirds[2]


@pytest.mark.parametrize(("examples", "passes"), [(55_000, 1), (1_257, 16), (100, 300), (3, 300)])
def test_small_datasets_are_passed_over_until_min_steps(examples: int, passes: int) -> None:
    """A recipe with ``min_steps`` does enough steps on any dataset, and no more passes than it needs."""
    recipe = Recipe(epochs=2, batch_size=64, min_steps=600)
    assert recipe.passes(examples) == passes
    assert recipe.epochs * passes * max(1, examples // recipe.batch_size) >= recipe.min_steps


def test_interrupted_fit_goes_on_with_the_same_batches() -> None:
    """One run of three epochs trains on what a run of one and its resumption do: each epoch on another order."""
    straight: list[list[float]] = []
    parts: list[list[float]] = []
    record(straight).fit(Batches(X, Y, 5, seed=3, augment=jitter), epochs=3, shuffle=False, verbose=0)
    record(parts).fit(Batches(X, Y, 5, seed=3, augment=jitter), epochs=1, shuffle=False, verbose=0)
    resumed = Batches(X, Y, 5, seed=3, augment=jitter)
    resumed.epoch = 1
    record(parts).fit(resumed, initial_epoch=1, epochs=3, shuffle=False, verbose=0)
    assert parts == straight
    assert len(straight) == len({tuple(x) for x in straight}) == 12


def record(seen: list[list[float]]) -> Any:
    """A model that appends every batch it is trained on to ``seen``."""

    class Recorder(keras.Model):  # type: ignore[misc]  # Keras has no type information
        def train_step(self, data: Any) -> dict[str, float]:
            seen.append(np.asarray(data[0]).ravel().tolist())
            return {"loss": 0.0}

        def call(self, inputs: Any) -> Any:
            return inputs

    model = Recorder()
    model.compile(loss="mae", run_eagerly=True)
    return model
