"""The workers that are there."""

from modelyard.services.ledger import Ledger, State
from tests.support.jobs import accept, claim


def test_queues_are_those_of_workers_that_are_there(ledger: Ledger) -> None:
    """Until they say goodbye."""
    ledger.workers.register("gpu-1", ["train.gpu", "train.gpu.2"])
    ledger.workers.register("cpu-1", ["train.cpu"])
    ledger.workers.register("cpu-1", ["train.cpu"])
    assert ledger.workers.list_queues() == {"train.gpu", "train.gpu.2", "train.cpu"}
    ledger.workers.unregister("gpu-1")
    assert ledger.workers.list_queues() == {"train.cpu"}


def test_a_worker_is_alive_since_it_registered_first(ledger: Ledger) -> None:
    """And runs so many jobs at a time, as it says."""
    ledger.workers.register("cpu-1", ["train.cpu"], slots=3)
    (first,) = ledger.workers.list_workers()
    ledger.workers.register("cpu-1", ["train.cpu"], slots=4)
    (again,) = ledger.workers.list_workers()
    assert (first.queues, first.slots, again.slots) == (("train.cpu",), 3, 4)
    assert first.since is not None
    assert (again.since, again.seen_at >= first.seen_at) == (first.since, True)


def test_earlier_jobs_say_how_long_they_took(ledger: Ledger) -> None:
    """Those of the models that went through all their stages."""
    for model, state in (("a", State.REJECTED), ("a", State.FAILED), ("b", State.REJECTED)):
        ledger.jobs.finish(claim(ledger, accept(ledger, model)), state, {})
    (found,) = ledger.workers.list_trainings({"a"})
    assert (found.model, found.recipe, found.overrides, found.took_s >= 0) == ("a", "quick", {"epochs": 2}, True)
    assert ledger.workers.list_trainings(()) == ()
