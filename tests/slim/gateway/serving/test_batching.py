"""Natural batching: what shares a call, what does not, and what happens to each request when a call fails."""

import asyncio
from collections.abc import Awaitable, Callable

import numpy as np
import pytest

from modelyard.models.tfserving.messages import ServingFailed
from modelyard.services.gateway.http.deadline import Deadline
from modelyard.services.gateway.http.errors import InvalidOutput
from modelyard.services.gateway.serving.batching.batcher import MAX_IDLE_QUEUES, Batcher
from modelyard.services.gateway.serving.batching.calls import Inputs, Outputs, Target
from modelyard.services.gateway.serving.batching.waiting import FEW
from tests.support.batches import TARGET, Model, ask, rows, until, values


def run_with_batcher(steps: Callable[[Model, Batcher], Awaitable[None]], max_batch: int = 8) -> None:
    async def run() -> None:
        model = Model()
        await steps(model, Batcher(model, max_batch))

    asyncio.run(run())


def test_an_idle_model_is_called_at_once_and_what_gathers_meanwhile_leaves_together() -> None:
    """Two calls in flight; the rest is one batch; everybody gets their own rows."""

    async def steps(model: Model, batcher: Batcher) -> None:
        first = ask(batcher, rows(1))
        await until(lambda: len(model.calls) == 1)
        second = ask(batcher, rows(2))
        await until(lambda: len(model.calls) == 2)
        rest = [ask(batcher, rows(3, 4)), ask(batcher, rows(5))]
        await asyncio.sleep(0.01)
        assert len(model.calls) == 2
        model.gate.set()
        assert [values(await task) for task in (first, second, *rest)] == [[2], [4], [6, 8], [10]]
        assert model.calls[2:] == [[3, 4, 5]]

    run_with_batcher(steps)


def test_what_arrives_in_one_turn_of_the_loop_shares_the_first_call() -> None:
    """No window, and yet no call of one row when eight came together."""

    async def steps(model: Model, batcher: Batcher) -> None:
        model.gate.set()
        tasks = [ask(batcher, rows(n)) for n in range(8)]
        assert [values(await task) for task in tasks] == [[2 * n] for n in range(8)]
        assert model.calls == [[0, 1, 2, 3, 4, 5, 6, 7]]

    run_with_batcher(steps)


def test_a_batch_is_never_larger_than_allowed_and_requests_are_not_split() -> None:
    """A request larger than the limit goes alone."""

    async def steps(model: Model, batcher: Batcher) -> None:
        model.gate.set()
        await asyncio.gather(*(ask(batcher, rows(*range(size))) for size in (3, 3, 3, 10)))
        assert [len(call) for call in model.calls] == [6, 3, 10]

    run_with_batcher(steps)


def test_a_bad_row_fails_alone() -> None:
    """The others of its batch are run again without it."""

    async def steps(model: Model, batcher: Batcher) -> None:
        model.gate.set()
        found = await asyncio.gather(*(ask(batcher, rows(n)) for n in (1, -1, 2)), return_exceptions=True)
        assert [values(found[0]), values(found[2])] == [[2], [4]]  # type: ignore[arg-type]  # not exceptions
        assert isinstance(found[1], ServingFailed)

    run_with_batcher(steps)


def test_a_deadline_is_kept_whatever_the_call_does_and_expired_work_is_not_sent() -> None:
    """DEADLINE_EXCEEDED in time; the row never reaches the model."""

    async def steps(model: Model, batcher: Batcher) -> None:
        busy = [ask(batcher, rows(1))]
        await until(lambda: len(model.calls) == 1)
        busy.append(ask(batcher, rows(2)))
        await until(lambda: len(model.calls) == 2)
        with pytest.raises(ServingFailed, match=r"no answer within 0\.02 s"):
            await ask(batcher, rows(99), timeout_s=0.02)
        model.gate.set()
        await asyncio.gather(*busy)
        assert values(await ask(batcher, rows(3))) == [6]
        assert [99] not in model.calls

    run_with_batcher(steps)


def test_a_cancelled_request_is_not_sent() -> None:
    """Nobody waits for the answer."""

    async def steps(model: Model, batcher: Batcher) -> None:
        busy = [ask(batcher, rows(1))]
        await until(lambda: len(model.calls) == 1)
        busy.append(ask(batcher, rows(2)))
        await until(lambda: len(model.calls) == 2)
        gone = ask(batcher, rows(99))
        await asyncio.sleep(0)
        gone.cancel()
        model.gate.set()
        await asyncio.gather(*busy, ask(batcher, rows(3)))
        assert [3] in model.calls
        assert not any(99 in call for call in model.calls)

    run_with_batcher(steps)


def test_other_targets_and_other_row_shapes_do_not_share() -> None:
    """Nor do other types."""

    async def steps(model: Model, batcher: Batcher) -> None:
        model.gate.set()
        wide = {"x": np.zeros((1, 2), np.float32)}
        double = {"x": np.zeros((1, 1), np.float64)}
        other = Target("model", 2, "serving_default")
        found = await asyncio.gather(
            ask(batcher, rows(1)), ask(batcher, wide), ask(batcher, double), ask(batcher, rows(1), target=other)
        )
        assert len(model.calls) == 4
        assert [outputs.version for outputs in found] == [1, 1, 1, 2]

    run_with_batcher(steps)


def test_bulk_goes_after_everything_interactive() -> None:
    """Whenever a batch is formed."""

    async def steps(model: Model, batcher: Batcher) -> None:
        busy = [ask(batcher, rows(0))]
        await until(lambda: len(model.calls) == 1)
        busy.append(ask(batcher, rows(0)))
        await until(lambda: len(model.calls) == 2)
        tasks = [ask(batcher, rows(*[7] * 8), bulk=True), ask(batcher, rows(*[1] * 8))]
        await asyncio.sleep(0)
        model.gate.set()
        await asyncio.gather(*busy, *tasks)
        assert [call[0] for call in model.calls[2:]] == [1, 7]

    run_with_batcher(steps)


def test_outputs_without_a_row_per_input_are_refused() -> None:
    """They cannot be matched to their inputs."""

    async def one_row(target: Target, inputs: Inputs, deadline: Deadline) -> Outputs:
        del target, inputs, deadline
        return Outputs({"y": np.zeros(1)}, 1)

    async def run() -> None:
        with pytest.raises(InvalidOutput, match="expected 2 rows"):
            await Batcher(one_row, 8).run(TARGET, rows(1, 2), Deadline.after(5))

    asyncio.run(run())


def test_few_queues_are_kept_that_have_nothing_to_do() -> None:
    """Versions come and go for years, and clients choose shapes; what a queue in use has learned stays."""

    async def steps(model: Model, batcher: Batcher) -> None:
        model.gate.set()
        targets = [Target("model", number, "s") for number in range(MAX_IDLE_QUEUES + 20)]
        for target in targets:
            await ask(batcher, rows(1), target=TARGET)
            await ask(batcher, rows(1), target=target)
        kept = [queue.target for queue in batcher.queues.values()]
        assert kept[-1] == targets[-1]
        assert set(kept) == {TARGET, *targets[21:]}

    run_with_batcher(steps)


def test_a_queue_with_something_to_do_is_never_dropped() -> None:
    async def steps(model: Model, batcher: Batcher) -> None:
        targets = [Target("model", number, "s") for number in range(MAX_IDLE_QUEUES + 20)]
        tasks = [ask(batcher, rows(number), target=target) for number, target in enumerate(targets)]
        await until(lambda: len(model.calls) == len(targets))
        assert len(batcher.queues) == len(targets)
        model.gate.set()
        assert [values(await task) for task in tasks] == [[2 * number] for number in range(len(targets))]

    run_with_batcher(steps)


# --- one caller ---


async def be_alone(model: Model, batcher: Batcher) -> None:
    """One request after the other, until the batcher knows that there is one caller; the model answers at once."""
    model.gate.set()
    for _ in range(FEW):
        await ask(batcher, rows(0))
    model.gate.clear()
    model.calls.clear()


def test_one_caller_is_answered_in_its_own_task() -> None:
    """What comes meanwhile leaves beside it, and gathers after it, as ever."""

    async def steps(model: Model, batcher: Batcher) -> None:
        await be_alone(model, batcher)
        first = ask(batcher, rows(1))
        await asyncio.sleep(0)
        assert model.calls == [[1]]
        others = [ask(batcher, rows(number)) for number in (2, 3)]
        await until(lambda: len(model.calls) == 2)
        last = ask(batcher, rows(4))
        model.gate.set()
        assert [values(await task) for task in (first, *others, last)] == [[2], [4], [6], [8]]
        assert model.calls == [[1], [2, 3], [4]]

    run_with_batcher(steps)


def test_what_came_while_one_caller_was_answered_leaves_after_it() -> None:
    """Also where its call failed: nobody is left in the queue."""

    async def steps(model: Model, batcher: Batcher) -> None:
        await be_alone(model, batcher)
        bad = ask(batcher, rows(-1))
        await until(lambda: len(model.calls) == 1)
        second = ask(batcher, rows(2))
        await until(lambda: len(model.calls) == 2)
        third = ask(batcher, rows(3))
        model.gate.set()
        with pytest.raises(ServingFailed):
            await bad
        assert [values(await task) for task in (second, third)] == [[4], [6]]

    run_with_batcher(steps)


def test_the_deadline_of_one_caller_is_kept_whatever_the_call_does() -> None:
    async def steps(model: Model, batcher: Batcher) -> None:
        await be_alone(model, batcher)
        with pytest.raises(ServingFailed, match=r"no answer within 0\.02 s"):
            await ask(batcher, rows(1), timeout_s=0.02)
        model.gate.set()
        assert values(await ask(batcher, rows(2))) == [4]

    run_with_batcher(steps)


def test_one_caller_who_goes_leaves_the_model_to_others() -> None:
    async def steps(model: Model, batcher: Batcher) -> None:
        await be_alone(model, batcher)
        gone = ask(batcher, rows(1))
        await until(lambda: len(model.calls) == 1)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        model.gate.set()
        assert all(queue.is_idle for queue in batcher.queues.values())
        assert values(await ask(batcher, rows(2))) == [4]

    run_with_batcher(steps)


def test_rows_are_counted_for_one_caller_too() -> None:
    async def steps(model: Model, batcher: Batcher) -> None:
        await be_alone(model, batcher)
        model.gate.set()

        async def answer(target: Target, inputs: Inputs, deadline: Deadline) -> Outputs:
            del target, inputs, deadline
            return Outputs({"y": np.zeros((3, 1), np.float32)}, 1)

        batcher._call = answer  # noqa: SLF001  # a model that answers wrongly from now on
        with pytest.raises(InvalidOutput, match="expected 1 rows"):
            await ask(batcher, rows(1))

    run_with_batcher(steps)
