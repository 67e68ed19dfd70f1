"""A run that is cut off goes on after its last whole epoch, and ends where it would have ended."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import pytest

from modelyard.models.batches import Batches
from modelyard.models.data import Splits
from modelyard.models.recipes import Recipe
from modelyard.models.spec import PreparedData
from modelyard.pipeline.fitting.checkpoint import META, VARIABLES, Checkpoint, Checkpoints, copy_variables
from modelyard.pipeline.fitting.devices import prepare_devices
from modelyard.pipeline.progress import Progress
from modelyard.pipeline.results import TrainedModel
from modelyard.pipeline.stages.publish import hash_weights
from modelyard.pipeline.stages.train import train
from tests.keras.pipeline.test_train import RECIPE, SPEC, SPLITS


def prepare(splits: Splits, recipe: Recipe) -> PreparedData:
    """In another order each epoch."""
    validation = Batches(splits.validation.x, splits.validation.y, 128)
    return PreparedData(Batches(splits.train.x, splits.train.y, recipe.batch_size, seed=recipe.seed), validation)


SHUFFLED = replace(SPEC, prepare=prepare)


class CutOff(BaseException):
    """Nothing below may catch it, as nothing catches SIGKILL."""


def run(work: Path, recipe: Recipe, spec: Any = SHUFFLED, cut_after: int = 0) -> tuple[TrainedModel, list[Progress]]:
    """One attempt; cut off when epoch ``cut_after`` has ended, if that comes."""
    said: list[Progress] = []

    def report(progress: Progress) -> None:
        said.append(progress)
        if cut_after and progress.epoch == cut_after and progress.step == progress.steps:
            raise CutOff

    work.mkdir(exist_ok=True)
    return train(spec, SPLITS, recipe, prepare_devices(recipe), work, work / "checkpoints", report), said


def epochs(said: list[Progress]) -> set[int]:
    return {progress.epoch for progress in said if progress.epoch}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    """What ``RECIPE`` gives without a break; its checkpoints are beside it."""
    return run(tmp_path_factory.mktemp("runs") / "whole", RECIPE)[0]


@pytest.fixture(scope="module")
def cut_in_third(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("runs") / "cut"
    cut(work, RECIPE, 3)
    return work


def cut(work: Path, recipe: Recipe, epoch: int) -> None:
    with pytest.raises(CutOff):
        run(work, recipe, cut_after=epoch)


@pytest.mark.parametrize(
    "recipe",
    [
        pytest.param(
            replace(recipe, epochs=epochs),
            id=f"{name}-{epochs}",
            marks=() if (name, epochs) == ("averaged", 2) else pytest.mark.long,
        )
        for epochs in (2, 3)
        for name, recipe in (
            ("averaged", replace(RECIPE, ema=0.9, keep="last")),
            ("worse", replace(RECIPE, optimizer="sgd", schedule="constant", learning_rate=4.0)),
        )
    ],
)
def test_a_run_cut_off_after_every_epoch_gives_the_weights_of_one_that_was_not(tmp_path: Path, recipe: Recipe) -> None:
    """Bit for bit: optimiser, schedule, dropout, order of the batches, averages and the best epoch are all restored."""
    whole, _ = run(tmp_path / "whole", recipe)
    for epoch in range(1, recipe.epochs):
        cut(tmp_path / "cut", recipe, epoch)
    resumed, said = run(tmp_path / "cut", recipe)
    assert epochs(said) == {recipe.epochs}
    assert resumed.history == whole.history
    assert resumed.best_epoch == whole.best_epoch
    assert hash_weights(resumed.weights) == hash_weights(whole.weights)
    assert resumed.cpu_s > 0


def test_a_run_that_was_over_is_not_trained_again(tmp_path: Path, whole: TrainedModel) -> None:
    """Neither after its last epoch nor after its patience ended."""
    shutil.copytree(whole.state.parent, tmp_path / "all")
    hopeless = replace(RECIPE, epochs=50, learning_rate=8.0, patience=1)
    runs = {"all": (RECIPE, whole), "hopeless": (hopeless, run(tmp_path / "hopeless", hopeless)[0])}
    assert len(runs["hopeless"][1].history) < 50
    for name, (recipe, first) in runs.items():
        again, said = run(tmp_path / name, recipe)
        assert epochs(said) == set()
        assert again.history == first.history
        assert hash_weights(again.weights) == hash_weights(first.weights)


def damage(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1] + b"?")


@pytest.mark.parametrize("file", [VARIABLES, META])
def test_the_one_before_a_damaged_checkpoint_is_read(file: str, tmp_path: Path, whole: TrainedModel) -> None:
    """The damaged one is deleted."""
    shutil.copytree(whole.weights.parents[1], tmp_path / "checkpoints")
    damage(tmp_path / "checkpoints" / "epoch-0004" / file)
    assert Checkpoints(tmp_path / "checkpoints").read_newest().epoch == 3
    assert not (tmp_path / "checkpoints" / "epoch-0004").exists()


@pytest.mark.long
@pytest.mark.parametrize("file", [VARIABLES, META])
def test_a_damaged_checkpoint_is_passed_over(
    tmp_path: Path, whole: TrainedModel, cut_in_third: Path, file: str
) -> None:
    """The one before is used: one epoch more is repeated, and the end is the same."""
    shutil.copytree(cut_in_third, tmp_path / "cut")
    damage(tmp_path / "cut" / "checkpoints" / "epoch-0003" / file)
    resumed, said = run(tmp_path / "cut", RECIPE)
    assert epochs(said) == {3, 4}
    assert hash_weights(resumed.weights) == hash_weights(whole.weights)


def build_other(_: Recipe, __: object) -> Any:
    """Another model than that of the runs."""
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, "softmax")])


def test_a_checkpoint_of_another_model_restores_nothing(whole: TrainedModel) -> None:
    """Not the half that would fit."""
    model = build_other(RECIPE, None)
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    before = copy_variables(model)
    assert not Checkpoints(whole.weights.parents[1]).restore(model, 4)
    assert all((after == before[name]).all() for name, after in copy_variables(model).items())


@pytest.mark.long
def test_checkpoints_of_another_model_are_not_used(tmp_path: Path, cut_in_third: Path) -> None:
    """Code may have changed between two attempts: training begins anew, and is not half restored."""
    other = replace(SHUFFLED, build=build_other)
    whole, _ = run(tmp_path / "whole", RECIPE, other)
    shutil.copytree(cut_in_third, tmp_path / "cut")
    resumed, said = run(tmp_path / "cut", RECIPE, other)
    assert epochs(said) == {1, 2, 3, 4}
    assert hash_weights(resumed.weights) == hash_weights(whole.weights)


def test_a_loss_that_is_not_a_number_is_remembered(tmp_path: Path) -> None:
    """JSON has no NaN of its own; a run that diverged is still resumed, not taken for damaged."""
    checkpoints = Checkpoints(tmp_path)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    checkpoints.write(model, {}, Checkpoint(history=({"val_loss": float("nan")},)), keep=True)
    assert checkpoints.read_newest().epoch == 1
