"""Jobs on real workers, Redis and ledger: whatever is killed, a job is finished or explained, and published once."""

import shutil
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from modelyard.models.registry.manifest import FILE
from modelyard.models.registry.store import Store
from modelyard.pipeline.processes.forkserver import ForkServer
from modelyard.services.ledger import LEASE_S, MAX_LOSSES, Job, State
from tests.support.processes import WAIT_S, Running
from tests.support.signals import stand_still, standing_still
from tests.support.training import (
    SHORT,
    TITLE,
    TRAINED_S,
    TrainingCluster,
    child_of,
    open_cluster,
)
from tests.support.waiting import wait_until

LONG = {"model": "neuron", "epochs": 12}
"""A job whose epochs can be told apart from outside."""
BUDGET_S = 15.0
SHORT_LEASE_S = 6.0
ENDED_WITHIN_S = 30.0
"""Of a process that ignores SIGTERM, on a busy machine."""


@pytest.fixture(scope="module")
def steady(
    tmp_path_factory: pytest.TempPathFactory, known: Path, forks: ForkServer
) -> Iterator[tuple[TrainingCluster, Running]]:
    """A queue and one worker for all tests that do not stop it."""
    home = tmp_path_factory.mktemp("steady")
    shutil.copytree(known, home / "store")
    with open_cluster(home, forks) as cluster:
        yield cluster, cluster.worker("one")


def assert_went_on(cluster: TrainingCluster, job: Job, *, epochs: int) -> Job:
    """Two attempts, every epoch in order, at most one of them twice, at most one version, and nothing left behind.

    An epoch that ended, and left its checkpoint, just as its attempt was released is in no event.
    """
    ended = cluster.await_end(job)
    assert ended.state in (State.SUCCEEDED, State.REJECTED), ended.result
    assert ended.attempts == 2
    assert any(text.startswith("resuming after epoch") for text in cluster.messages(job))
    seen = cluster.epochs(job)
    assert seen == sorted(seen)
    assert len(set(range(1, epochs + 1)) - set(seen)) <= 1
    assert len(seen) - len(set(seen)) <= 1
    published = [ended.result["version"]] if ended.state is State.SUCCEEDED else []
    assert list(Store(cluster.home / "store").versions(job.model)) == published
    wait_until(lambda: not cluster.left(job), WAIT_S, "no folder is left")
    return ended


def test_a_killed_training_process_goes_on_from_its_last_checkpoint(steady: tuple[TrainingCluster, Running]) -> None:
    """SIGKILL in the middle of an epoch: the same worker starts it again; what was done is not done again."""
    cluster, worker = steady
    job = cluster.submit(**LONG)
    wait_until(lambda: cluster.in_epoch(job, 3), TRAINED_S, "the third epoch")
    child_of(worker).send_signal(signal.SIGKILL)
    assert_went_on(cluster, job, epochs=LONG["epochs"])
    assert "the training process was ended by SIGKILL (out of memory?)" in cluster.messages(job)


@pytest.mark.long
def test_a_process_that_always_dies_fails_its_job_and_holds_up_no_other(
    steady: tuple[TrainingCluster, Running],
) -> None:
    """Three attempts, then FAILED with the reason; the worker takes the next job."""
    cluster, worker = steady
    job, dead = cluster.submit(**LONG), 0
    for _ in range(3):
        child = child_of(worker, other_than=dead)
        dead = child.pid
        child.send_signal(signal.SIGSEGV)
    ended = cluster.await_end(job)
    assert (ended.state, ended.attempts) == (State.FAILED, 3)
    assert ended.result["reason"] == "the training process was ended by SIGSEGV, in attempt 3"
    assert cluster.await_end(cluster.submit(**SHORT)).state is State.SUCCEEDED
    wait_until(lambda: not cluster.left(job), WAIT_S, "no folder is left")


@pytest.mark.long
def test_a_worker_that_gets_sigterm_requeues_its_job(cluster: TrainingCluster) -> None:
    """SIGTERM in the middle: it ends with 0, and who is free goes on from the checkpoint; no lease is waited for."""
    first = cluster.worker("first", forked=False)
    job = cluster.submit(**LONG)
    wait_until(lambda: cluster.in_epoch(job, 3), TRAINED_S, "the third epoch")
    with standing_still(child_of(first)):  # it must not end before there is another worker
        cluster.worker("second")
    first.process.send_signal(signal.SIGTERM)
    assert first.process.wait(WAIT_S) == 0
    wait_until(lambda: cluster.job(job).attempts == 2, LEASE_S - 20, "the second worker")
    assert_went_on(cluster, job, epochs=LONG["epochs"])
    assert "its worker stopped" in cluster.messages(job)


@pytest.mark.long
def test_a_stopping_worker_lets_its_job_end_and_waits_no_longer(cluster: TrainingCluster) -> None:
    """The time for it is a limit: the worker is gone soon after its job, and starts no other one."""
    first = cluster.worker("first", MODELYARD_DRAIN_S="3600")
    job, waiting = cluster.submit(**LONG), cluster.submit(**SHORT)
    wait_until(lambda: cluster.in_epoch(job, 1), TRAINED_S, "the first epoch")
    first.process.send_signal(signal.SIGTERM)
    assert first.process.wait(TRAINED_S) == 0
    ended = cluster.job(job)
    assert ended.state in (State.SUCCEEDED, State.REJECTED), ended.result
    assert (ended.attempts, cluster.job(waiting).attempts) == (1, 0)
    cluster.worker("second")
    assert cluster.await_end(waiting).state is State.SUCCEEDED
    wait_until(lambda: not cluster.left(job), 30, "no folder is left")


@pytest.mark.long
def test_a_worker_that_vanishes_is_taken_over_when_its_lease_has_run_out(cluster: TrainingCluster) -> None:
    """SIGKILL of all its processes, as when a machine is lost: another one goes on, and it is published once."""
    first = cluster.worker("first", MODELYARD_LEASE_S=str(SHORT_LEASE_S))
    job = cluster.submit(**LONG)
    wait_until(lambda: cluster.in_epoch(job, 3), TRAINED_S, "the third epoch")
    stand_still(child_of(first))  # it must not end before there is another worker
    cluster.worker("second")
    for process in [psutil.Process(first.process.pid), *psutil.Process(first.process.pid).children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):  # without its parent it may end by itself
            process.kill()
    wait_until(lambda: cluster.job(job).attempts == 2, SHORT_LEASE_S + WAIT_S, "the second worker")
    assert_went_on(cluster, job, epochs=LONG["epochs"])


@pytest.mark.long
def test_a_version_whose_worker_was_lost_before_it_could_say_so_is_its_jobs_result(cluster: TrainingCluster) -> None:
    """Lost while publishing, and twice before: the next worker finds the version by the job's id."""
    worker = cluster.worker("one")
    model = cluster.await_end(cluster.submit(**SHORT)).model
    worker.stop()
    job = cluster.submit("neuron")
    for _ in range(MAX_LOSSES):
        claimed = cluster.ledger.jobs.claim(job.id, "lost", lease_s=-1)
        assert claimed
    assert cluster.ledger.jobs.begin_publishing(claimed)
    put_version(cluster, model, of=job)
    cluster.worker("two")
    ended = cluster.await_end(job)
    assert (ended.state, ended.result.get("version")) == (State.SUCCEEDED, 2), ended.result
    assert Store(cluster.home / "store").versions(model) == (1, 2)


def put_version(cluster: TrainingCluster, model: str, of: Job) -> None:
    """Version 2, as the job would have made it: the first one with its name."""
    store = Store(cluster.home / "store")
    shutil.copytree(store.path(model, 1), store.path(model, 2))
    manifest = store.manifest(model, 1).model_copy(update={"version": 2, "job": of.id})
    (store.path(model, 2) / FILE).write_text(manifest.model_dump_json())


@pytest.mark.long
def test_a_job_whose_time_is_used_up_fails_and_is_not_run_again(steady: tuple[TrainingCluster, Running]) -> None:
    """The budget counts from the start, over all attempts; a process that ignores SIGTERM is gone soon after."""
    cluster, worker = steady
    job = cluster.submit(budget_s=BUDGET_S, **LONG)
    wait_until(lambda: worker.child_named(TITLE) or cluster.job(job).finished_at, TRAINED_S, "the training process")
    wait_until(lambda: cluster.left(job) or cluster.job(job).finished_at, TRAINED_S, "a folder of its own")
    child = worker.child_named(TITLE)  # None where all of that took the whole budget
    if child:
        with suppress(psutil.NoSuchProcess):
            child.suspend()  # as if it hung in native code
    ended = cluster.await_end(job)
    assert (ended.state, ended.attempts) == (State.FAILED, 1)
    assert ended.result["reason"] == "timeout: its time budget of 15 s is used up"
    assert ended.started_at
    assert ended.finished_at
    assert BUDGET_S <= (ended.finished_at - ended.started_at).total_seconds() < BUDGET_S + ENDED_WITHIN_S
    assert worker.child_named(TITLE) is None
    wait_until(lambda: not cluster.left(job), WAIT_S, "no folder is left")
    assert cluster.ledger.jobs.claim(job.id, "another") is None


def test_urgent_jobs_start_before_those_that_waited_longer(cluster: TrainingCluster) -> None:
    """Twenty of low priority are queued before one of high; the worker then takes that one first."""
    waiting = [cluster.submit("neuron", priority="low") for _ in range(20)]
    usual, urgent = cluster.submit("neuron"), cluster.submit("neuron", priority="high")
    cluster.worker("one")
    for job in (urgent, usual):
        wait_until(lambda job=job: cluster.job(job).started_at, TRAINED_S, "its start")
        assert [early.id for early in waiting if cluster.job(early).started_at] == []
        cluster.ledger.jobs.cancel(job.id, "the test")
    wait_until(lambda: any(cluster.job(job).started_at for job in waiting), TRAINED_S, "the start of another")
    first = cluster.job(waiting[0])
    assert first.started_at, "of equal priority, the oldest goes first"
    for job in waiting:
        cluster.ledger.jobs.cancel(job.id, "the test")


@pytest.mark.long
def test_a_job_is_trained_on_the_backend_of_its_recipe(steady: tuple[TrainingCluster, Running]) -> None:
    """One worker trains on either, one job after the other; each version says on which."""
    cluster, _ = steady
    asked = ("jax", "tensorflow")
    ended = [cluster.await_end(job) for job in [cluster.submit(**SHORT, backend=name) for name in asked]]
    versions = [job.result["version"] for job in ended]
    found = [Store(cluster.home / "store").manifest("neuron", version).environment for version in versions]
    assert [(one.backend, one.device) for one in found] == [(name, "cpu") for name in asked]


def test_too_few_devices_fail_a_job_with_the_reason(steady: tuple[TrainingCluster, Running]) -> None:
    """Before it trains: here it was put into the queue of a worker that has no GPU."""
    cluster, _ = steady
    ended = cluster.await_end(cluster.submit("neuron", devices=2))
    assert ended.state is State.FAILED
    assert ended.result["reason"].startswith("recipe key 'devices': expected 2 GPUs, but tensorflow sees cpu:0")


def test_the_output_of_a_jobs_processes_is_stored(steady: tuple[TrainingCluster, Running]) -> None:
    """In the ledger, where those can read it who cannot see the worker: here the traceback of what nobody expected."""
    cluster, worker = steady
    before = worker.printed.count("Traceback")
    job = cluster.submit(**LONG | {"epochs": 1000})
    child, checkpoints = child_of(worker), cluster.home / "work" / "checkpoints" / job.id
    wait_until(lambda: cluster.in_epoch(job, 1), TRAINED_S, "the first epoch")

    def writes_none() -> bool:
        """Then it stands still; a checkpoint that is half written when it is removed is another fault."""
        stand_still(child)
        if not list(checkpoints.glob(".partial-*")):
            return True
        child.resume()
        return False

    wait_until(writes_none, WAIT_S, "a moment between two checkpoints")
    shutil.rmtree(checkpoints)
    child.resume()
    ended = cluster.await_end(job)
    assert ended.state is State.FAILED, ended.result
    assert "Traceback" in cluster.ledger.logs.read(job.id)
    assert worker.printed.count("Traceback") > before
