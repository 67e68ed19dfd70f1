"""Threads for calls of models: which is next, what waits, and how they end."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager

import pytest

from modelyard.services.modelserver.warm_threads import WarmThreads

TIMEOUT_S = 30.0


@contextmanager
def open_threads(count: int) -> Iterator[WarmThreads]:
    threads = WarmThreads(count, "warm")
    try:
        yield threads
    finally:
        threads.shutdown(wait=True, cancel_futures=True)


class Gate:
    """Work that has begun, and lasts until it is opened."""

    def __init__(self) -> None:
        self.began, self._opened = threading.Event(), threading.Event()

    def __call__(self) -> str:
        self.began.set()
        assert self._opened.wait(TIMEOUT_S)
        return threading.current_thread().name

    def open(self) -> None:
        self._opened.set()


def occupy(threads: WarmThreads, count: int) -> list[tuple[Gate, Future[str]]]:
    """So much work that has begun."""
    found = [(gate, threads.submit(gate)) for gate in [Gate() for _ in range(count)]]
    for gate, _ in found:
        assert gate.began.wait(TIMEOUT_S)
    return found


def become_idle(threads: WarmThreads, count: int) -> None:
    """Returns when so many threads have nothing to do: an answer comes before its thread is idle."""
    for gate, _ in occupy(threads, count):
        gate.open()


def test_one_after_the_other_runs_on_one_thread() -> None:
    with open_threads(4) as threads:
        used = set()
        for _ in range(20):
            used.add(threads.submit(lambda: threading.current_thread().name).result(TIMEOUT_S))
        assert len(used) <= 2  # an answer comes a moment before its thread is idle again


def test_two_at_a_time_run_on_few_threads() -> None:
    with open_threads(8) as threads:
        used: set[str] = set()
        for _ in range(20):
            pair = occupy(threads, 2)
            for gate, _ in pair:
                gate.open()
            used |= {future.result(TIMEOUT_S) for _, future in pair}
        assert len(used) <= 4


def test_what_finds_every_thread_busy_is_done_in_order() -> None:
    with open_threads(1) as threads:
        ((gate, first),) = occupy(threads, 1)
        order: list[int] = []
        waiting = [threads.submit(order.append, number) for number in range(5)]
        gate.open()
        assert first.result(TIMEOUT_S)
        for future in waiting:
            future.result(TIMEOUT_S)
        assert order == [0, 1, 2, 3, 4]


def test_no_work_is_lost_whoever_gives_it() -> None:
    """Eight threads give work to three, which are sometimes idle and sometimes not."""
    done: list[int] = []
    with open_threads(3) as threads:

        def give(first: int) -> None:
            for number in range(first, first + 200):
                threads.start(lambda number=number: done.append(number))  # type: ignore[misc]

        givers = [threading.Thread(target=give, args=(200 * number,)) for number in range(8)]
        for giver in givers:
            giver.start()
        for giver in givers:
            giver.join(TIMEOUT_S)
        threads.shutdown(wait=True)
    assert sorted(done) == list(range(1600))


def fail() -> None:
    raise ValueError("no")


@pytest.mark.parametrize("work", [fail, Gate])
def test_a_thread_outlives_what_it_runs(work: Callable[[], object]) -> None:
    with open_threads(1) as threads:
        assert isinstance(threads.submit(work).exception(TIMEOUT_S), ValueError | None)
        assert threads.submit(lambda: 3).result(TIMEOUT_S) == 3


def test_nothing_more_is_taken_after_the_end_and_what_was_given_is_done() -> None:
    threads = WarmThreads(1, "warm")
    ((gate, first),) = occupy(threads, 1)
    second = threads.submit(lambda: 2)
    threads.shutdown(wait=False)
    with pytest.raises(RuntimeError):
        threads.submit(lambda: 3)
    gate.open()
    assert first.result(TIMEOUT_S)
    assert second.result(TIMEOUT_S) == 2
    threads.shutdown(wait=True)


def test_what_has_not_begun_can_be_cancelled() -> None:
    with open_threads(1) as threads:
        ((gate, _),) = occupy(threads, 1)
        gone = threads.submit(lambda: 2)
        assert gone.cancel()
        gate.open()
        with pytest.raises(CancelledError):
            gone.result(TIMEOUT_S)
        assert threads.submit(lambda: 3).result(TIMEOUT_S) == 3


def test_the_end_cancels_what_waits_if_asked_to() -> None:
    threads = WarmThreads(1, "warm")
    ((gate, first),) = occupy(threads, 1)
    waiting = threads.submit(lambda: 2)
    threads.shutdown(wait=False, cancel_futures=True)
    gate.open()
    assert first.result(TIMEOUT_S)
    threads.shutdown(wait=True)
    assert waiting.cancelled()
