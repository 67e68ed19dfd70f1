"""Jobs whose ledger is on a real PostgreSQL: it restarts, it is away, and clocks do not agree with it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.models.registry.store import Store
from modelyard.pipeline.processes.forkserver import ForkServer
from modelyard.services.ledger import Job, State
from tests.support.postgres import Postgres
from tests.support.training import SHORT, TRAINED_S, TrainingCluster, child_of, open_cluster
from tests.support.waiting import wait_until

pytestmark = pytest.mark.long
LONG = {"epochs": 6, "min_steps": 200}
CLOCK = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
"""Debian's package faketime."""


@pytest.fixture
def cluster(tmp_path: Path, known: Path, forks: ForkServer, postgres_url: str) -> Iterator[TrainingCluster]:
    shutil.copytree(known, tmp_path / "store")
    with open_cluster(tmp_path, forks, postgres_url) as found:
        yield found


def test_a_database_that_restarts_costs_no_job(cluster: TrainingCluster, postgres_server: Postgres) -> None:
    """In the middle of a training, with all connections cut: it goes on, and so does the worker after it."""
    worker = cluster.worker("one")
    job = cluster.submit(**LONG)
    wait_until(lambda: cluster.in_epoch(job, 2), TRAINED_S, "the second epoch")
    postgres_server.control("restart", "-m", "immediate")
    assert_published_once(cluster, job)
    assert_published_once(cluster, cluster.submit(**SHORT))
    assert worker.process.poll() is None


def test_a_job_that_ends_while_the_database_is_away_is_not_lost(
    cluster: TrainingCluster, postgres_server: Postgres
) -> None:
    """It waits with its version until it may publish; nothing of it is done again."""
    worker = cluster.worker("one")
    job = cluster.submit("neuron")
    child_of(worker)
    postgres_server.control("stop", "-m", "immediate")
    try:
        wait_until(lambda: "Jobs.begin_publishing" in worker.printed, TRAINED_S, "a worker that asks again")
    finally:
        postgres_server.control("start")
    assert_published_once(cluster, job)


@pytest.mark.skipif(CLOCK is None, reason="needs Debian's package faketime")
def test_workers_with_wrong_clocks_take_nothing_and_lose_nothing(cluster: TrainingCluster) -> None:
    """Ten minutes ahead and behind, one would think that all leases have run out, the other that its own never does."""
    for name, skew in (("ahead", "+10m"), ("behind", "-10m")):
        cluster.worker(name, forked=False, LD_PRELOAD=str(CLOCK), FAKETIME=skew, FAKETIME_DONT_FAKE_MONOTONIC="1")
    both = [cluster.submit(seed=seed, **SHORT) for seed in (1, 2)]
    wait_until(lambda: all(cluster.job(job).state is State.RUNNING for job in both), TRAINED_S, "both at once")
    assert len({cluster.job(job).worker for job in both}) == 2
    for job in both:
        assert_published_once(cluster, job)


def assert_published_once(cluster: TrainingCluster, job: Job) -> None:
    """In its first attempt; the gate may have rejected it."""
    ended = cluster.await_end(job)
    assert ended.state in (State.SUCCEEDED, State.REJECTED), ended.result
    assert (ended.attempts, cluster.starts(job)) == (1, 1)
    manifests = [Store(cluster.home / "store").manifest(job.model, number) for number in versions(cluster, job)]
    assert [manifest.job for manifest in manifests].count(job.id) == (ended.state is State.SUCCEEDED)


def versions(cluster: TrainingCluster, job: Job) -> tuple[int, ...]:
    return tuple(Store(cluster.home / "store").versions(job.model))
