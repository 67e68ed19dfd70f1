"""Whether the loop is behind, on a clock of its own."""

import asyncio

from modelyard.services.gateway.server.admission import ITERATION_EXPIRES_S, MAX_ITERATION_S, LoopLag


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def turn(pace: LoopLag, clock: Clock, took_s: float) -> bool:
    """One turn of the loop in which a request arrives; whether it was found behind."""
    behind = pace.is_behind()
    clock.now += took_s
    await asyncio.sleep(0)
    return behind


def test_is_behind_after_a_long_turn_until_a_short_one() -> None:
    async def turns() -> list[bool]:
        clock = Clock()
        pace = LoopLag(clock)
        return [await turn(pace, clock, took) for took in (0.001, 2 * MAX_ITERATION_S, 0.001, 0.001)]

    assert asyncio.run(turns()) == [False, False, True, False]


def test_forgets_a_long_turn_when_nothing_came_for_a_while() -> None:
    async def turns() -> bool:
        clock = Clock()
        pace = LoopLag(clock)
        await turn(pace, clock, 2 * MAX_ITERATION_S)
        clock.now += ITERATION_EXPIRES_S
        return pace.is_behind()

    assert not asyncio.run(turns())


def test_measures_each_turn_once() -> None:
    """From its first request on."""

    async def turns() -> bool:
        clock = Clock()
        pace = LoopLag(clock)
        for _ in range(3):
            pace.is_behind()
            clock.now += MAX_ITERATION_S / 2
        await asyncio.sleep(0)
        return pace.is_behind()

    assert asyncio.run(turns())
