"""How long the loop was held, on a clock of its own."""

import asyncio
from collections.abc import Callable

from modelyard.services.gateway.server.loop_holds import BEAT_S, WINDOW_S, LoopHolds
from tests.support.waiting import TIMEOUT_S


class Clock:
    now = 0.0
    waited = 0.0

    def __call__(self) -> float:
        return self.now


def measure(hold: Callable[[Clock], None]) -> tuple[list[float], float]:
    """What is counted and what is the longest, of one request that holds the loop."""

    async def run() -> tuple[list[float], float]:
        clock, counted = Clock(), list[float]()
        beats = asyncio.Event()

        def observe(held_s: float) -> None:
            counted.append(held_s)
            beats.set()

        holds = LoopHolds(observe, clock, lambda: clock.waited)
        holds.start()
        hold(clock)
        holds.finish()
        async with asyncio.timeout(TIMEOUT_S):
            while clock.now and not holds.longest_s() and not beats.is_set():
                await asyncio.sleep(BEAT_S)
        return counted, holds.longest_s()

    return asyncio.run(run())


def test_a_hold_is_counted_though_nothing_is_in_flight_any_more() -> None:
    """A request that never gave the loop back: whoever came next waited for it."""

    def hold(clock: Clock) -> None:
        clock.now += 3

    assert measure(hold) == ([3], 3)


def test_waiting_for_a_processor_is_no_hold() -> None:
    """What else the machine does is not the request's doing."""

    def hold(clock: Clock) -> None:
        clock.now += 3
        clock.waited += 2.5

    assert measure(hold) == ([0.5], 0.5)


def test_the_longest_hold_is_forgotten_after_two_windows() -> None:
    """It is that of the last minute or two."""

    async def run() -> list[float]:
        clock, counted = Clock(), list[float]()
        holds = LoopHolds(counted.append, clock, lambda: 0.0)
        clock.now = 1000
        holds.start()
        clock.now += 3
        holds.finish()
        async with asyncio.timeout(TIMEOUT_S):
            while not counted:
                await asyncio.sleep(BEAT_S)
        found = [holds.longest_s()]
        for _ in range(3):
            clock.now += WINDOW_S
            found.append(holds.longest_s())
        return found

    assert asyncio.run(run()) == [3, 3, 0, 0]
