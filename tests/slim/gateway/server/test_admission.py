"""Who is let in, on a clock of its own."""

from modelyard.services.gateway.server.admission import MIN_IN_FLIGHT, OVERLOAD_EXPIRES_S, Admission


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def admit(admission: Admission, model: str, deadline_s: float, *, bulk: bool = False) -> bool:
    if admission.retry_after_s(model, deadline_s, bulk=bulk) is not None:
        return False
    admission.start(model)
    return True


def test_as_many_as_allowed_are_admitted() -> None:
    """One leaves, one may come; other models do not count."""
    admission = Admission(max_in_flight=2)
    assert [admit(admission, "a", 1) for _ in range(3)] == [True, True, False]
    assert admit(admission, "b", 1)
    admission.finish("a")
    assert admit(admission, "a", 1)


def test_bulk_is_shed_at_half_the_limit() -> None:
    """The rest is for interactive requests."""
    admission = Admission(max_in_flight=4)
    assert [admit(admission, "a", 1, bulk=True) for _ in range(3)] == [True, True, False]
    assert admit(admission, "a", 1)


def test_a_request_that_would_wait_for_a_quarter_of_its_deadline_is_shed() -> None:
    """An answer each 0.1 s, and ten under way: a second's wait is fine for 10 s, and too much for 3."""
    clock = Clock()
    admission = Admission(max_in_flight=1000, clock=clock)
    for _ in range(100):
        admission.start("a")
    for _ in range(90):
        clock.now += 0.1
        admission.finish("a")
    assert admission.retry_after_s("a", 10, bulk=False) is None
    wait_s = admission.retry_after_s("a", 3, bulk=False)
    assert wait_s is not None
    assert 0.9 < wait_s < 1.2


def test_a_stall_sheds_nothing_that_the_throughput_will_serve() -> None:
    """1,000 responses a second for 64 callers, who wait for 64 ms, and once for half a second: no sign of overload."""
    clock = Clock()
    admission = Admission(max_in_flight=1000, clock=clock)
    for _ in range(64):
        admission.start("a")
    for number in range(3000):
        clock.now += 0.5 if number == 2000 else 0.001
        admission.finish("a")
        assert admit(admission, "a", 1), number


def test_responses_that_come_in_batches_are_no_overload() -> None:
    """512 callers, each of which comes back at once; 64 of them are answered at a time, every 60 ms."""
    clock = Clock()
    admission = Admission(max_in_flight=512, clock=clock)
    for _ in range(512):
        assert admit(admission, "a", 5)
    for _ in range(100):
        clock.now += 0.06
        for _ in range(64):
            admission.finish("a")
            assert admit(admission, "a", 5)


def test_a_model_that_became_slow_sheds_within_seconds() -> None:
    """From 1,000 responses a second to 10, with 64 in flight: the last of them would wait for 6 s."""
    clock = Clock()
    admission = Admission(max_in_flight=1000, clock=clock)
    for _ in range(64):
        admission.start("a")
    for _ in range(2000):
        clock.now += 0.001
        admission.finish("a")
        admission.start("a")
    slow_since = clock.now
    while admission.retry_after_s("a", 5, bulk=False) is None:
        clock.now += 0.1
        admission.finish("a")
        admission.start("a")
    assert clock.now - slow_since < 5


def test_no_state_is_kept_of_an_idle_model_name() -> None:
    """Names come from clients."""
    admission = Admission(max_in_flight=4)
    for number in range(1000):
        admission.start(f"model{number}")
        admission.finish(f"model{number}")
    assert len(admission) == 0


def test_a_loop_that_is_behind_sheds_nothing_while_there_are_places() -> None:
    """As many clients as there are places, on a busy machine."""
    admission = Admission(max_in_flight=4 * MIN_IN_FLIGHT)
    for number in range(4 * MIN_IN_FLIGHT):
        assert not admission.is_full("a", behind=True), number
        admission.start("a")
    assert admission.is_full("a", behind=True)


def test_after_all_places_were_taken_a_loop_that_is_behind_gives_fewer_for_a_while() -> None:
    """Few requests are never shed for its slowness, those of other models are counted by themselves, and it ends."""
    clock = Clock()
    admission = Admission(max_in_flight=1000, clock=clock)
    for _ in range(1000):
        admission.start("a")
    assert admission.is_full("a")
    for _ in range(1000 - MIN_IN_FLIGHT):
        admission.finish("a")
    assert admission.is_full("a", behind=True)
    assert not admission.is_full("a")
    assert not admission.is_full("b", behind=True)
    clock.now += OVERLOAD_EXPIRES_S
    assert not admission.is_full("a", behind=True)
    clock.now -= OVERLOAD_EXPIRES_S / 2
    admission.finish("a")
    assert not admission.is_full("a", behind=True)


def test_fewer_places_than_a_slow_loop_gives_are_all_given() -> None:
    admission = Admission(max_in_flight=2)
    admission.start("a")
    assert not admission.is_full("a", behind=True)
    admission.start("a")
    assert admission.is_full("a", behind=True)
