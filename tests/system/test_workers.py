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
from modelyard.services.ledger import LEASE_S, MAX_LOSSES, Job, State
from tests.support.serving import WAIT_S, Running
from tests.support.shop import TRAINED_S, Shop, child_of, opened, stand_still, standing_still
from tests.support.waiting import wait_until

LONG = {"epochs": 20, "min_steps": 300}
BUDGET_S = 15.0
SHORT_LEASE_S = 12.0
ENDED_WITHIN_S = 30.0
"""Of a process that ignores SIGTERM, on a busy machine."""


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory, known: Path) -> Iterator[tuple[Shop, Running]]:
    """A queue and one worker for all tests that do not stop it."""
    home = tmp_path_factory.mktemp("steady")
    shutil.copytree(known, home / "store")
    with opened(home) as shop:
        yield shop, shop.worker("one")


def assert_went_on(shop: Shop, job: Job, *, epochs: int) -> Job:
    """Two attempts, every epoch in order, at most one of them twice, at most one version, and nothing left behind.

    An epoch that ended, and left its checkpoint, just as its attempt was released is in no event.
    """
    ended = shop.await_end(job)
    assert ended.state in (State.SUCCEEDED, State.REJECTED), ended.result
    assert ended.attempts == 2
    assert any(text.startswith("resuming after epoch") for text in shop.messages(job))
    seen = shop.epochs(job)
    assert seen == sorted(seen)
    assert len(set(range(1, epochs + 1)) - set(seen)) <= 1
    assert len(seen) - len(set(seen)) <= 1
    published = [ended.result["version"]] if ended.state is State.SUCCEEDED else []
    assert list(Store(shop.home / "store").versions(job.model)) == published
    wait_until(lambda: not shop.left(job), WAIT_S, "no folder is left")
    return ended


def test_a_killed_training_process_goes_on_from_its_last_checkpoint(steady: tuple[Shop, Running]) -> None:
    """SIGKILL in the middle of an epoch: the same worker starts it again; what was done is not done again."""
    shop, worker = steady
    job = shop.submit(**LONG)
    wait_until(lambda: shop.in_epoch(job, 3), TRAINED_S, "the third epoch")
    child_of(worker).send_signal(signal.SIGKILL)
    assert_went_on(shop, job, epochs=LONG["epochs"])
    assert "the training process was ended by SIGKILL (out of memory?)" in shop.messages(job)


def test_a_process_that_always_dies_fails_its_job_and_holds_up_no_other(steady: tuple[Shop, Running]) -> None:
    """Three attempts, then FAILED with the reason; the worker takes the next job."""
    shop, worker = steady
    job, dead = shop.submit(**LONG), 0
    for _ in range(3):
        child = child_of(worker, other_than=dead)
        dead = child.pid
        child.send_signal(signal.SIGSEGV)
    ended = shop.await_end(job)
    assert (ended.state, ended.attempts) == (State.FAILED, 3)
    assert ended.result["reason"] == "the training process was ended by SIGSEGV, in attempt 3"
    assert shop.await_end(shop.submit("neuron")).state is State.SUCCEEDED
    wait_until(lambda: not shop.left(job), WAIT_S, "no folder is left")


def test_a_worker_that_gets_sigterm_requeues_its_job(shop: Shop) -> None:
    """SIGTERM in the middle: it ends with 0, and who is free goes on from the checkpoint; no lease is waited for."""
    first = shop.worker("first")
    job = shop.submit(**LONG)
    wait_until(lambda: shop.in_epoch(job, 3), TRAINED_S, "the third epoch")
    with standing_still(child_of(first)):  # it must not end before there is another worker
        shop.worker("second")
    first.process.send_signal(signal.SIGTERM)
    assert first.process.wait(WAIT_S) == 0
    wait_until(lambda: shop.job(job).attempts == 2, LEASE_S - 20, "the second worker")
    assert_went_on(shop, job, epochs=LONG["epochs"])
    assert "its worker stopped" in shop.messages(job)


def test_a_stopping_worker_lets_its_job_end_and_waits_no_longer(shop: Shop) -> None:
    """The time for it is a limit: the worker is gone soon after its job, and starts no other one."""
    first = shop.worker("first", MODELYARD_DRAIN_S="3600")
    job, waiting = shop.submit(**LONG), shop.submit("neuron")
    wait_until(lambda: shop.in_epoch(job, 1), TRAINED_S, "the first epoch")
    first.process.send_signal(signal.SIGTERM)
    assert first.process.wait(TRAINED_S) == 0
    ended = shop.job(job)
    assert ended.state in (State.SUCCEEDED, State.REJECTED), ended.result
    assert (ended.attempts, shop.job(waiting).attempts) == (1, 0)
    shop.worker("second")
    assert shop.await_end(waiting).state is State.SUCCEEDED
    wait_until(lambda: not shop.left(job), 30, "no folder is left")


def test_a_worker_that_vanishes_is_taken_over_when_its_lease_has_run_out(shop: Shop) -> None:
    """SIGKILL of all its processes, as when a machine is lost: another one goes on, and it is published once."""
    first = shop.worker("first", MODELYARD_LEASE_S=str(SHORT_LEASE_S))
    job = shop.submit(**LONG)
    wait_until(lambda: shop.in_epoch(job, 3), TRAINED_S, "the third epoch")
    stand_still(child_of(first))  # it must not end before there is another worker
    shop.worker("second")
    for process in [psutil.Process(first.process.pid), *psutil.Process(first.process.pid).children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):  # without its parent it may end by itself
            process.kill()
    wait_until(lambda: shop.job(job).attempts == 2, SHORT_LEASE_S + WAIT_S, "the second worker")
    assert_went_on(shop, job, epochs=LONG["epochs"])


def test_a_version_whose_worker_was_lost_before_it_could_say_so_is_its_jobs_result(shop: Shop) -> None:
    """Lost while publishing, and twice before: the next worker finds the version by the job's id."""
    worker = shop.worker("one")
    model = shop.await_end(shop.submit("neuron")).model
    worker.stop()
    job = shop.submit("neuron")
    for _ in range(MAX_LOSSES):
        claimed = shop.ledger.jobs.claim(job.id, "lost", lease_s=-1)
        assert claimed
    assert shop.ledger.jobs.begin_publishing(claimed)
    put_version(shop, model, of=job)
    shop.worker("two")
    ended = shop.await_end(job)
    assert (ended.state, ended.result.get("version")) == (State.SUCCEEDED, 2), ended.result
    assert Store(shop.home / "store").versions(model) == (1, 2)


def put_version(shop: Shop, model: str, of: Job) -> None:
    """Version 2, as the job would have made it: the first one with its name."""
    store = Store(shop.home / "store")
    shutil.copytree(store.path(model, 1), store.path(model, 2))
    manifest = store.manifest(model, 1).model_copy(update={"version": 2, "job": of.id})
    (store.path(model, 2) / FILE).write_text(manifest.model_dump_json())


def test_a_job_whose_time_is_used_up_fails_and_is_not_run_again(steady: tuple[Shop, Running]) -> None:
    """The budget counts from the start, over all attempts; a process that ignores SIGTERM is gone soon after."""
    shop, worker = steady
    job = shop.submit(budget_s=BUDGET_S, **LONG)
    child = child_of(worker)
    wait_until(lambda: shop.left(job) or shop.job(job).finished_at, TRAINED_S, "a folder of its own")
    with suppress(psutil.NoSuchProcess):  # where that took the whole budget
        child.suspend()  # as if it hung in native code
    ended = shop.await_end(job)
    assert (ended.state, ended.attempts) == (State.FAILED, 1)
    assert ended.result["reason"] == "timeout: its time budget of 15 s is used up"
    assert ended.started_at
    assert ended.finished_at
    assert BUDGET_S <= (ended.finished_at - ended.started_at).total_seconds() < BUDGET_S + ENDED_WITHIN_S
    assert not child.is_running()
    wait_until(lambda: not shop.left(job), WAIT_S, "no folder is left")
    assert shop.ledger.jobs.claim(job.id, "another") is None


def test_urgent_jobs_start_before_those_that_waited_longer(shop: Shop) -> None:
    """Twenty of low priority are queued before one of high; the worker then takes that one first."""
    waiting = [shop.submit("neuron", priority="low") for _ in range(20)]
    usual, urgent = shop.submit("neuron"), shop.submit("neuron", priority="high")
    shop.worker("one")
    for job in (urgent, usual):
        wait_until(lambda job=job: shop.job(job).started_at, TRAINED_S, "its start")
        assert [early.id for early in waiting if shop.job(early).started_at] == []
        shop.ledger.jobs.cancel(job.id, "the test")
    wait_until(lambda: any(shop.job(job).started_at for job in waiting), TRAINED_S, "the start of another")
    first = shop.job(waiting[0])
    assert first.started_at, "of equal priority, the oldest goes first"
    for job in waiting:
        shop.ledger.jobs.cancel(job.id, "the test")


def test_a_job_is_trained_on_the_backend_of_its_recipe(steady: tuple[Shop, Running]) -> None:
    """One worker trains on either, one job after the other; each version says on which."""
    shop, _ = steady
    asked = ("jax", "tensorflow")
    ended = [shop.await_end(job) for job in [shop.submit("neuron", backend=name) for name in asked]]
    versions = [job.result["version"] for job in ended]
    found = [Store(shop.home / "store").manifest("neuron", version).environment for version in versions]
    assert [(one.backend, one.device) for one in found] == [(name, "cpu") for name in asked]


def test_too_few_devices_fail_a_job_with_the_reason(steady: tuple[Shop, Running]) -> None:
    """Before it trains: here it was put into the queue of a worker that has no GPU."""
    shop, _ = steady
    ended = shop.await_end(shop.submit("neuron", devices=2))
    assert ended.state is State.FAILED
    assert ended.result["reason"].startswith("recipe key 'devices': expected 2 GPUs, but tensorflow sees cpu:0")


def test_the_output_of_a_jobs_processes_is_stored(shop: Shop) -> None:
    """In the ledger, where those can read it who cannot see the worker: here the traceback of what nobody expected."""
    worker = shop.worker("one")
    job = shop.submit(**LONG | {"epochs": 1000})
    child, checkpoints = child_of(worker), shop.home / "work" / "checkpoints" / job.id
    wait_until(lambda: shop.in_epoch(job, 1), TRAINED_S, "the first epoch")

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
    ended = shop.await_end(job)
    assert ended.state is State.FAILED, ended.result
    assert "Traceback" in shop.ledger.logs.read(job.id)
    assert "Traceback" in worker.printed
