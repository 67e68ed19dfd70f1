"""Jobs in a ledger, as gateway and worker would have them."""

from modelyard.services.ledger import Job, JobRequest, Ledger

WORKER = "host-1"


def accept(ledger: Ledger, model: str = "mnist_cnn") -> Job:
    overrides = {"epochs": 2}
    return ledger.jobs.add(JobRequest(model=model, overrides=overrides), by="test")


def claim(ledger: Ledger, job: Job, worker: str = WORKER, lease_s: float = 60) -> Job:
    claimed = ledger.jobs.claim(job.id, worker, lease_s)
    assert claimed is not None
    return claimed
