"""Which callers a batch waits for, and for how long."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from benchmarks import batching_rules
from modelyard.services.gateway.serving.batching.batcher import Batcher, BatchQueue
from modelyard.services.gateway.serving.batching.waiting import (
    MAX_SHARE_OF_CALL,
    MAX_WAIT_S,
    SHARE_OF_SAVING,
    CallCost,
    ReturningCallers,
)
from tests.support.batches import Model, ask, rows, until, values

RUN_S, ROW_S = 0.004, 0.0005


def test_the_cost_of_a_call_is_told_from_calls_of_several_sizes() -> None:
    cost = CallCost()
    for size in (1, 8, 32, 2, 64, 16):
        cost.learn(size, RUN_S + ROW_S * size)
    assert cost.find_fixed_s() == pytest.approx(RUN_S)


def test_a_cost_that_changes_is_learned_anew() -> None:
    cost = CallCost()
    for factor in (10, 1):
        for size in (1, 8, 32) * 60:
            cost.learn(size, factor * (RUN_S + ROW_S * size))
    assert cost.find_fixed_s() == pytest.approx(RUN_S, rel=0.01)


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        pytest.param([], 0, id="nothing is known"),
        pytest.param([(1, 1.0), (9, 2.0)], 0, id="two calls say little"),
        pytest.param([(8, 0.02)] * 9, 0.01, id="all calls have as many rows: half of one"),
        pytest.param([(rows, 0.001 * rows) for rows in range(1, 9)], 0, id="only rows cost something"),
        pytest.param([(rows, 0.01 - 0.001 * rows) for rows in range(1, 9)], 0.0055, id="more rows took less: a mean"),
    ],
)
def test_a_fixed_cost_is_never_invented(calls: list[tuple[int, float]], expected: float) -> None:
    cost = CallCost()
    for size, seconds in calls:
        cost.learn(size, seconds)
    assert cost.find_fixed_s() == pytest.approx(expected, abs=3e-4)


def make_callers(took_s: float, requests: int, calls: int = 9) -> ReturningCallers:
    callers = ReturningCallers()
    for _ in range(calls):
        callers.note_answer(requests, requests, took_s, now=100.0)
    return callers


def test_most_of_those_just_answered_are_waited_for() -> None:
    callers = make_callers(0.02, requests=10)
    assert callers.is_waited_for(8, now=100.0)
    assert not callers.is_waited_for(9, now=100.0)


def test_the_wait_ends_after_a_share_of_what_it_can_save() -> None:
    callers = make_callers(0.02, requests=10)
    longest_s = SHARE_OF_SAVING * 0.02 / 2
    assert longest_s < MAX_SHARE_OF_CALL * 0.02
    assert callers.until == pytest.approx(100.0 + longest_s)
    assert not callers.is_waited_for(1, now=100.0 + longest_s)


def test_a_lone_caller_is_never_waited_for() -> None:
    assert not make_callers(0.02, requests=1).is_waited_for(0, now=100.0)


def test_no_call_however_slow_makes_others_wait_for_long() -> None:
    assert make_callers(30.0, requests=10).until == pytest.approx(100.0 + MAX_WAIT_S)


@pytest.mark.parametrize("model", ["LSTM", "digits", "quick", "rows cost most"])
@pytest.mark.parametrize(("callers", "share"), [(1, 0.0), (8, 0.0), (64, 0.0), (0, 0.3), (0, 0.6)])
def test_nobody_waits_longer_than_without_waiting(model: str, callers: int, share: float) -> None:
    """In a simulation of closed loops, and of arrivals by chance at a share of what can be answered."""
    simulated = batching_rules.MODELS[model]
    rate = share * batching_rules.find_most(simulated)
    throughput, latency = batching_rules.compare(batching_rules.OURS, simulated, callers, rate, seeds=1)
    assert latency <= batching_rules.MOST_LATENCY
    assert throughput >= batching_rules.LEAST_THROUGHPUT or not callers


def while_one_call_runs(steps: Callable[[Model, Batcher, BatchQueue], Awaitable[None]]) -> None:
    """Takes steps while a call is in flight, so that the queue of its model is there; then the model answers."""

    async def run() -> None:
        model = Model()
        batcher = Batcher(model, max_batch=8)
        first = ask(batcher, rows(0))
        await until(lambda: len(model.calls) == 1)
        await steps(model, batcher, next(iter(batcher.queues.values())))
        assert values(await first) == [0]

    asyncio.run(run())


def wait_for(queue: BatchQueue, requests: int, seconds: float) -> None:
    queue.callers.expected, queue.callers.until = requests, asyncio.get_running_loop().time() + seconds


def test_a_batch_leaves_with_the_last_of_those_who_are_waited_for() -> None:
    async def steps(model: Model, batcher: Batcher, queue: BatchQueue) -> None:
        wait_for(queue, 3, 60)
        others = [ask(batcher, rows(number)) for number in (1, 2)]
        await until(lambda: queue.pending == 2)
        assert model.calls == [[0]]
        others.append(ask(batcher, rows(3)))
        await until(lambda: len(model.calls) == 2)
        assert model.calls[1] == [1, 2, 3]
        model.gate.set()
        assert [values(outputs) for outputs in await asyncio.gather(*others)] == [[2], [4], [6]]

    while_one_call_runs(steps)


def test_a_batch_leaves_when_the_wait_is_over() -> None:
    async def steps(model: Model, batcher: Batcher, queue: BatchQueue) -> None:
        wait_for(queue, 3, 0.01)
        second = ask(batcher, rows(1))
        await until(lambda: len(model.calls) == 2)
        model.gate.set()
        await second

    while_one_call_runs(steps)


def test_a_caller_who_goes_while_others_are_waited_for_is_not_sent() -> None:
    async def steps(model: Model, batcher: Batcher, queue: BatchQueue) -> None:
        wait_for(queue, 3, 0.01)
        gone = ask(batcher, rows(1))
        await until(lambda: queue.pending == 1)
        gone.cancel()
        stays = ask(batcher, rows(2))
        await until(lambda: len(model.calls) == 2)
        assert model.calls[1] == [2]
        model.gate.set()
        await stays

    while_one_call_runs(steps)
