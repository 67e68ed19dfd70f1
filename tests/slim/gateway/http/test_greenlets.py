"""Plain functions that wait: on the loop's own thread as greenlets, elsewhere by blocking."""

import asyncio
import contextvars
import threading
from collections.abc import Iterator

import pytest

from modelyard.services.gateway.http.greenlets import EventLoop, run_in_greenlet

NAME: contextvars.ContextVar[str] = contextvars.ContextVar("name")


@pytest.fixture
def other_loop() -> Iterator[EventLoop]:
    loop = EventLoop()
    yield loop
    loop.close()


async def later(value: int) -> int:
    await asyncio.sleep(0.001)
    return value


async def fails() -> None:
    raise KeyError("on purpose")


def test_many_functions_wait_at_once_on_one_thread() -> None:
    """Each gets its own results, and none leaves the thread."""

    async def run() -> list[tuple[int, int]]:
        loop = EventLoop(asyncio.get_running_loop())

        def view(number: int) -> tuple[int, int]:
            return loop.wait_for(later(number)) + loop.wait_for(later(1)), threading.get_ident()

        return await asyncio.gather(*(run_in_greenlet(lambda n=n: view(n)) for n in range(50)))  # type: ignore[misc]

    found = asyncio.run(run())
    assert found == [(number + 1, threading.get_ident()) for number in range(50)]


def test_without_a_loop_the_thread_blocks(other_loop: EventLoop) -> None:
    """As in a test, or in a thread of the gateway."""
    assert other_loop.wait_for(later(3)) == 3
    with pytest.raises(KeyError, match="on purpose"):
        other_loop.wait_for(fails())


def test_errors_come_out_where_they_are_waited_for() -> None:
    """And can be handled there."""

    async def run() -> str:
        loop = EventLoop(asyncio.get_running_loop())

        def view() -> str:
            with pytest.raises(KeyError, match="on purpose"):
                loop.wait_for(fails())
            return "handled"

        return await run_in_greenlet(view)

    assert asyncio.run(run()) == "handled"


def test_each_function_has_its_own_context_variables() -> None:
    """What one request binds to its log records, another does not see."""

    async def run() -> list[str]:
        loop = EventLoop(asyncio.get_running_loop())

        def view(name: str) -> str:
            NAME.set(name)
            loop.wait_for(later(0))
            return NAME.get()

        return await asyncio.gather(*(run_in_greenlet(lambda n=n: view(n)) for n in "abc"))  # type: ignore[misc]

    assert asyncio.run(run()) == ["a", "b", "c"]


def test_cancellation_reaches_the_function() -> None:
    """It unwinds, so that what it holds is let go."""
    unwound = []

    async def run() -> None:
        loop = EventLoop(asyncio.get_running_loop())

        def view() -> None:
            try:
                loop.wait_for(asyncio.sleep(60))
            finally:
                unwound.append(True)

        task = asyncio.create_task(run_in_greenlet(view))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert unwound == [True]
