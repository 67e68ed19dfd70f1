"""The workers that are there."""

from modelyard.services.ledger import Ledger


def test_queues_are_those_of_workers_that_are_there(ledger: Ledger) -> None:
    """Until they say goodbye."""
    ledger.workers.register("gpu-1", ["train.gpu", "train.gpu.2"])
    ledger.workers.register("cpu-1", ["train.cpu"])
    ledger.workers.register("cpu-1", ["train.cpu"])
    assert ledger.workers.list_queues() == {"train.gpu", "train.gpu.2", "train.cpu"}
    ledger.workers.unregister("gpu-1")
    assert ledger.workers.list_queues() == {"train.cpu"}
