"""The circuit breaker, on a clock of its own."""

import pytest

from modelyard.services.gateway.serving.circuit_breaker import (
    MAX_CONSECUTIVE,
    MIN_CALLS,
    PROBE_EVERY_S,
    WINDOW_S,
    CircuitBreaker,
)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> CircuitBreaker:
    return CircuitBreaker(clock)


def fail(breaker: CircuitBreaker, times: int) -> None:
    for _ in range(times):
        breaker.record(responded=False)


def test_it_opens_after_five_failures_in_a_row(breaker: CircuitBreaker) -> None:
    """Not after four, and not if one call between them succeeded."""
    fail(breaker, MAX_CONSECUTIVE - 1)
    breaker.record(responded=True)
    fail(breaker, MAX_CONSECUTIVE - 1)
    assert breaker.allows()
    fail(breaker, 1)
    assert not breaker.is_closed
    assert not breaker.allows()


def test_it_opens_when_most_of_many_calls_fail(breaker: CircuitBreaker) -> None:
    """Two of three, never five in a row; not before there are enough calls."""
    for calls in range(3, MIN_CALLS, 3):
        breaker.record(responded=True)
        fail(breaker, 2)
        assert breaker.is_closed, calls
    breaker.record(responded=True)
    fail(breaker, 2)
    assert not breaker.is_closed


def test_old_failures_are_forgotten(breaker: CircuitBreaker, clock: Clock) -> None:
    """The window is ten seconds."""
    fail(breaker, MAX_CONSECUTIVE - 1)
    clock.now += WINDOW_S + 1
    for _ in range(MIN_CALLS):
        breaker.record(responded=True)
    fail(breaker, MAX_CONSECUTIVE - 1)
    assert breaker.allows()


def test_open_it_lets_one_probe_a_second_through(breaker: CircuitBreaker, clock: Clock) -> None:
    """The first after a second, then one a second."""
    fail(breaker, MAX_CONSECUTIVE)
    for _ in range(3):
        assert not breaker.allows()
        clock.now += PROBE_EVERY_S
        assert breaker.allows()


def test_a_successful_probe_closes_it(breaker: CircuitBreaker, clock: Clock) -> None:
    """At once, and with nothing held against it."""
    fail(breaker, MAX_CONSECUTIVE)
    clock.now += PROBE_EVERY_S
    assert breaker.allows()
    breaker.record(responded=True)
    assert breaker.is_closed
    fail(breaker, MAX_CONSECUTIVE - 1)
    assert breaker.is_closed


def test_a_failed_probe_keeps_it_open(breaker: CircuitBreaker, clock: Clock) -> None:
    """For another second."""
    fail(breaker, MAX_CONSECUTIVE)
    clock.now += PROBE_EVERY_S
    assert breaker.allows()
    fail(breaker, 1)
    assert not breaker.allows()


def test_deadlines_of_clients_never_open_it(breaker: CircuitBreaker) -> None:
    """Five in a row say that the server has to be asked; a response between them starts the count again."""
    assert [breaker.record_impatient() for _ in range(MAX_CONSECUTIVE)] == [False] * (MAX_CONSECUTIVE - 1) + [True]
    assert breaker.is_closed
    breaker.record(responded=True)
    assert not breaker.record_impatient()
    breaker.open()
    assert breaker.is_open


def test_half_open_it_would_try_a_call(breaker: CircuitBreaker, clock: Clock) -> None:
    """Its server was reached: it is not open, yet takes one call a second; a failure opens it, a success closes it."""
    fail(breaker, MAX_CONSECUTIVE)
    assert breaker.is_open
    breaker.reached()
    assert (breaker.is_open, breaker.is_closed, breaker.allows()) == (False, False, False)
    clock.now += PROBE_EVERY_S
    assert breaker.allows()
    fail(breaker, 1)
    assert breaker.is_open
    breaker.reached()
    breaker.record(responded=True)
    assert breaker.is_closed
