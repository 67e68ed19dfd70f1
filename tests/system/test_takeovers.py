"""Workers that stand still and go on after another has taken over: one version, and no job failed with one."""

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress

import psutil
import pytest

from modelyard.models.registry.rollout import read_rollout
from modelyard.models.registry.store import Store
from modelyard.services.ledger import MAX_LOSSES, Job, State
from tests.support.processes import WAIT_S, Running
from tests.support.signals import standing_still
from tests.support.training import SHORT, TRAINED_S, TrainingCluster, child_of
from tests.support.waiting import wait_until

MODEL = SHORT["model"]
SHORT_LEASE_S = 6.0


@contextmanager
def no_writer(cluster: TrainingCluster) -> Iterator[None]:
    """No process is in the middle of a transaction: one that stood still there would be killed."""
    with closing(sqlite3.connect(cluster.home / "ledger.db", timeout=WAIT_S, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield


def halt(cluster: TrainingCluster, worker: Running, cleanup: ExitStack) -> ExitStack:
    """Stops all processes of a worker, as if its machine stood still; they go on when what it returns is closed."""
    going_on = cleanup.enter_context(ExitStack())
    main = psutil.Process(worker.process.pid)
    family = [child_of(worker), *main.children(recursive=True), main]
    with no_writer(cluster):
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.suspend()
                going_on.callback(process.resume)
        wait_until(lambda: all(map(is_halted, family)), WAIT_S, "all of them stand still")
    return going_on


def is_halted(process: psutil.Process) -> bool:
    """Or it has ended, perhaps unnoticed by a parent that stands still."""
    with suppress(psutil.NoSuchProcess):
        return process.status() in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE)
    return True


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def is_publishing(cluster: TrainingCluster, job: Job) -> bool:
    return cluster.job(job).state is State.PUBLISHING


@pytest.mark.long
def test_a_worker_that_stands_still_before_its_rename_publishes_nothing_when_it_goes_on(
    cluster: TrainingCluster, cleanup: ExitStack
) -> None:
    """It had the permission. Another trains and publishes; then it goes on, and takes the next job."""
    store = Store(cluster.home / "store")
    first = cluster.worker("first", MODELYARD_LEASE_S=str(SHORT_LEASE_S))
    with store.lock(f"publish-{MODEL}"):
        job = cluster.submit(**SHORT)
        wait_until(lambda: is_publishing(cluster, job), TRAINED_S, "the permission")
        halted = halt(cluster, first, cleanup)
    second = cluster.worker("second")
    ended = cluster.await_end(job)
    assert (ended.state, ended.attempts, ended.losses) == (State.SUCCEEDED, 2, 0), ended.result
    halted.close()
    wait_until(lambda: "job stopped: it is no longer" in first.printed, WAIT_S, "the end of the first attempt")
    assert store.versions(MODEL) == (1,)
    assert cluster.job(job) == ended
    second.stop()
    following = cluster.await_end(cluster.submit(**SHORT))
    assert (following.state, following.result["version"]) == (State.SUCCEEDED, 2)


@pytest.mark.long
def test_a_version_whose_worker_stands_still_before_its_promotion_is_promoted_by_the_next(
    cluster: TrainingCluster, cleanup: ExitStack
) -> None:
    """However often the job was lost before, it has succeeded, and its version is stable."""
    store = Store(cluster.home / "store")
    first = cluster.worker("first", MODELYARD_LEASE_S=str(SHORT_LEASE_S))
    with standing_still(psutil.Process(first.process.pid)):
        job = cluster.submit(**SHORT, rollout="stable")
        for _ in range(MAX_LOSSES - 1):
            assert cluster.ledger.jobs.claim(job.id, "lost", lease_s=-1)
    with store.lock():
        wait_until(lambda: store.versions(MODEL), TRAINED_S, "the version")
        halted = halt(cluster, first, cleanup)
    cluster.worker("second")
    ended = cluster.await_end(job)
    assert (ended.state, ended.result["version"]) == (State.SUCCEEDED, 1), ended.result
    halted.close()
    wait_until(
        lambda: "job stopped: it is no longer" in first.printed or "job ended" in first.printed, WAIT_S, "its end"
    )
    assert (store.versions(MODEL), read_rollout(store, MODEL).stable) == ((1,), 1)
    assert cluster.job(job) == ended
