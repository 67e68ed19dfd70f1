"""What is said of the time that training still takes."""

import pytest

from modelyard.pipeline.fitting.eta import UNSTEADY_STEPS, EpochEstimate, FitEstimate
from modelyard.pipeline.progress import format_left

COMPILING_S, STEP_S, VALIDATION_S = 300.0, 0.5, 4.0
STEPS, EPOCHS = 40, 3


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.s = 0.0

    def __call__(self) -> float:
        return self.s


def train(estimate: FitEstimate, clock: Clock, epoch: int, steps: int = STEPS, step_s: float = STEP_S) -> None:
    estimate.begin_epoch(epoch)
    for step in range(1, steps + 1):
        clock.s += step_s
        estimate.end_step(step)


def test_nothing_is_said_in_the_first_ten_steps() -> None:
    """Then by steady steps: the first, which compiled for five minutes, does not count."""
    clock = Clock()
    estimate = FitEstimate(EPOCHS, STEPS, validation_steps=0, now=clock)
    estimate.begin_epoch(1)
    said = []
    for step in range(1, UNSTEADY_STEPS + 1):
        clock.s += COMPILING_S if step == 1 else STEP_S
        estimate.end_step(step)
        said.append(estimate.remaining_s)
    assert said[:-1] == [None] * (UNSTEADY_STEPS - 1)
    assert said[-1] == pytest.approx((STEPS * EPOCHS - UNSTEADY_STEPS) * STEP_S)


def test_validation_and_checkpoints_count() -> None:
    """The first, which compiles, only until there is a second; before it, a validation step is a third of a step."""
    clock = Clock()
    estimate = FitEstimate(EPOCHS, STEPS, validation_steps=12, now=clock)
    train(estimate, clock, 1)
    assert estimate.remaining_s == pytest.approx(2 * STEPS * STEP_S + 3 * 12 * STEP_S / 3)
    clock.s += 10 * VALIDATION_S
    estimate.end_epoch()
    assert estimate.remaining_s == pytest.approx(2 * (STEPS * STEP_S + 10 * VALIDATION_S))
    train(estimate, clock, 2)
    clock.s += VALIDATION_S
    estimate.end_epoch()
    assert estimate.remaining_s == pytest.approx(STEPS * STEP_S + VALIDATION_S)
    train(estimate, clock, 3)
    clock.s += VALIDATION_S
    estimate.end_epoch()
    assert estimate.remaining_s == 0


def test_steps_of_all_epochs_count_where_an_epoch_has_one() -> None:
    """Ten epochs of one step are ten steps; an attempt that goes on counts its own."""
    clock = Clock()
    estimate = FitEstimate(30, 1, now=clock)
    for epoch in range(6, 6 + UNSTEADY_STEPS):
        train(estimate, clock, epoch, steps=1)
        estimate.end_epoch()
        assert (estimate.remaining_s is None) == (epoch < 5 + UNSTEADY_STEPS)
    assert estimate.remaining_s == pytest.approx(15 * STEP_S)


def test_the_estimate_follows_a_machine_that_becomes_slower() -> None:
    """After some thousand steps the early ones say little."""
    clock = Clock()
    estimate = FitEstimate(2, 10_000, now=clock)
    train(estimate, clock, 1, steps=5000)
    estimate.begin_epoch(1)
    for step in range(5001, 8001):
        clock.s += 10 * STEP_S
        estimate.end_step(step)
    assert estimate.remaining_s == pytest.approx(12_000 * 10 * STEP_S, rel=0.05)


def test_a_loop_that_reports_epochs_only_says_something_after_two() -> None:
    """By the epochs after the first."""
    clock = Clock()
    estimate = EpochEstimate(5, now=clock)
    said = []
    for epoch, took_s in enumerate((COMPILING_S, 7, 7, 7, 7), 1):
        clock.s += took_s
        said.append(estimate.end_epoch(epoch))
    assert said == [None, 21, 14, 7, 0]


def test_what_is_left_is_said_in_two_units() -> None:
    """As on every surface."""
    assert format_left(8100) == "2 h 15 min left"
    assert format_left(59.6, at_most=True) == "at most 1 min left"
    assert format_left(0.2) == "0 s left"
