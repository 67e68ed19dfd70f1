"""Who is let in, on a clock of its own."""

from modelyard.services.gateway.server.admission import MIN_IN_FLIGHT, Admission


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


def test_no_state_is_kept_of_an_idle_model_name() -> None:
    """Names come from clients."""
    admission = Admission(max_in_flight=4)
    for number in range(1000):
        admission.start(f"model{number}")
        admission.finish(f"model{number}")
    assert len(admission) == 0


def test_a_loop_that_is_behind_gets_no_more_than_it_needs() -> None:
    """Few requests are never shed for its slowness."""
    admission = Admission(max_in_flight=1000)
    for number in range(MIN_IN_FLIGHT):
        assert not admission.is_full("a", behind=True), number
        admission.start("a")
    assert admission.is_full("a", behind=True)
    assert not admission.is_full("a")
    assert not admission.is_full("b", behind=True)
