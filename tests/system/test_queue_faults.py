"""Queue and disk fail while jobs run and wait, on real Redis, workers and ledger: none is lost or done twice."""

import resource
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from modelyard.models.registry.store import Store
from modelyard.pipeline.processes.forkserver import ForkServer
from modelyard.services.ledger import Job, State
from modelyard.services.trainer.process import TITLE
from tests.support.ports import free_port
from tests.support.processes import START_S, WAIT_S, Running
from tests.support.programs import running_fork
from tests.support.signals import standing_still
from tests.support.training import SHORT, TRAINED_S, TrainingCluster, child_of, open_cluster
from tests.support.waiting import wait_until

UNKNOWN = "no_such_model"
"""Jobs for it fail soon: cheap ones."""
MANY = 300
CONNECTIONS = 10
"""Open files that a few more connections to the ledger are, when its threads happen to use it at once."""
LARGEST = 1024
"""Bytes of a file, on the disk that is full."""


# --- the broker -------------------------------------------------------------------------------------------------------


def test_a_message_that_comes_again_while_its_job_runs_starts_nothing(cluster: TrainingCluster) -> None:
    """Longer than the visibility timeout: Redis gives the message to the other worker, whose claim is refused."""
    workers = [cluster.worker(name, MODELYARD_VISIBILITY_TIMEOUT_S="2") for name in ("one", "two")]
    job = cluster.submit(UNKNOWN)
    child = wait_until(lambda: any_child(workers), START_S, "the training process")
    with standing_still(child):  # it lasts as long as we like
        wait_until(
            lambda: any("job not claimed" in worker.printed for worker in workers), START_S, "the second message"
        )
    ended = cluster.await_end(job)
    assert (ended.state, ended.attempts, cluster.starts(job)) == (State.FAILED, 1, 1), ended.result
    assert ended.result["reason"].startswith("unknown model")


def any_child(workers: list[Running]) -> psutil.Process | None:
    return next((child for worker in workers if (child := worker.child_named(TITLE))), None)


def test_a_restart_of_redis_costs_neither_what_runs_nor_what_waits(cluster: TrainingCluster) -> None:
    """SIGTERM in the middle of a job: it goes on and is recorded, what waited follows, each is started once."""
    worker = cluster.worker("one")
    job, waiting = cluster.submit(**SHORT), cluster.submit(UNKNOWN)
    with standing_still(child_of(worker)):
        cluster.end_redis(signal.SIGTERM)
        cluster.start_redis()
    assert cluster.await_end(job).state is State.SUCCEEDED
    assert_both_ran_once(cluster, job, waiting)


@pytest.mark.long
def test_a_job_that_ends_while_redis_is_gone_is_recorded_and_the_next_one_follows(cluster: TrainingCluster) -> None:
    """kill -9: nothing but the ledger is needed to say how a job ended; the worker goes on when Redis is back."""
    worker = cluster.worker("one")
    job, waiting = cluster.submit(**SHORT), cluster.submit(UNKNOWN)
    wait_until(lambda: cluster.has_reached(job, "evaluate"), TRAINED_S, "its last stage but publishing")
    cluster.end_redis(signal.SIGKILL)
    assert cluster.await_end(job).state is State.SUCCEEDED
    assert cluster.job(waiting).state is State.QUEUED
    cluster.start_redis()
    assert_both_ran_once(cluster, job, waiting)
    assert worker.process.poll() is None


def assert_both_ran_once(cluster: TrainingCluster, job: Job, waiting: Job) -> None:
    assert (cluster.await_end(job).state, cluster.await_end(waiting).state) == (State.SUCCEEDED, State.FAILED)
    assert (cluster.starts(job), cluster.starts(waiting)) == (1, 1)
    assert published_jobs(cluster) == [job.id]


def published_jobs(cluster: TrainingCluster) -> list[str | None]:
    """The jobs that versions name, oldest first."""
    store = Store(cluster.home / "store")
    return [store.manifest("neuron", number).job for number in store.versions("neuron")]


# --- the disk ---------------------------------------------------------------------------------------------------------


def test_a_work_folder_that_is_gone_fails_a_job_by_that_name_and_not_the_worker(cluster: TrainingCluster) -> None:
    """Its disk was taken away: the reason names storage; when the disk is back, the next job is taken."""
    disk = cluster.home / "disk"
    cluster.worker("one", MODELYARD_WORK_DIR=str(disk / "work"))
    away = disk.rename(cluster.home / "away")
    disk.write_bytes(b"")
    ended = cluster.await_end(cluster.submit("neuron"))
    assert (ended.state, ended.result["reason"]) == (State.FAILED, "storage: work: Not a directory")
    assert (ended.attempts, published_jobs(cluster)) == (1, [])
    disk.unlink()
    away.rename(disk)
    assert cluster.await_end(cluster.submit(UNKNOWN)).result["reason"].startswith("unknown model")


@pytest.fixture(scope="module")
def steady(
    tmp_path_factory: pytest.TempPathFactory, known: Path, forks: ForkServer
) -> Iterator[tuple[TrainingCluster, Running]]:
    """A queue and one worker for tests that take the disk of its training processes alone."""
    home = tmp_path_factory.mktemp("steady")
    shutil.copytree(known, home / "store")
    with open_cluster(home, forks) as cluster:
        yield (
            cluster,
            cluster.worker("one", PYTHONDONTWRITEBYTECODE="1"),
        )  # half a file of it would stay, for all others


@pytest.mark.parametrize("stage", ["train", pytest.param("export", marks=pytest.mark.long)])
def test_a_full_disk_fails_a_job_by_that_name_and_leaves_nothing(
    steady: tuple[TrainingCluster, Running], stage: str
) -> None:
    """In training and in the export's own process; the limit on file sizes fails writes where a full disk would."""
    cluster, worker = steady
    job = cluster.submit("neuron")
    child = child_of(worker)
    wait_until(lambda: stage == "train" or cluster.has_reached(job, stage), TRAINED_S, f"stage {stage}")
    resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (LARGEST, LARGEST))
    for process in child.children(recursive=True):
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (LARGEST, LARGEST))
    ended = cluster.await_end(job)
    assert (ended.state, ended.attempts) == (State.FAILED, 1)
    assert ended.result["reason"].startswith("storage: "), ended.result
    assert published_jobs(cluster) == []
    wait_until(lambda: not cluster.left(job), WAIT_S, "no folder is left")
    wait_until(lambda: worker.child_named(TITLE) is None, WAIT_S, "the end of the training process")


# --- many jobs --------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_hundreds_can_wait_and_all_go_through_one_worker_that_grows_by_nothing(cluster: TrainingCluster) -> None:
    """Submitted and listed over HTTP, page by page; the oldest goes first; the last one meets the same worker."""
    with gateway(cluster) as http:
        ids = [accepted(http) for _ in range(MANY)]
        assert list_queued_jobs(http) == ids[::-1]
    worker = cluster.worker("one")
    first, *between, last = map(cluster.ledger.jobs.get, ids)
    wait_until(lambda: cluster.job(first).progress, TRAINED_S, "the first job")
    with standing_still(child_of(worker)):  # it must not end before all the others are cancelled
        assert [job.id for job in between if cluster.job(job).started_at] == []
        before = count_open_files(worker)
        for job in (*between, first):
            cluster.ledger.jobs.cancel(job.id, "the test")
    wait_until(lambda: cluster.job(last).progress, TRAINED_S, "the last job")
    assert worker.printed.count("job not claimed") == len(between)
    after = count_open_files(worker)
    assert after.keys() == before.keys()
    assert max(count - before[pid] for pid, count in after.items()) < CONNECTIONS, (before, after)
    cluster.ledger.jobs.cancel(last.id, "the test")


@contextmanager
def gateway(cluster: TrainingCluster) -> Iterator[httpx.Client]:
    port = free_port()
    settings = cluster.settings | {"MODELYARD_PORT": str(port), "MODELYARD_SERVING": "127.0.0.1:1"}
    with (
        running_fork(cluster.forks, cluster.home / "gateway.log", "gateway", **settings) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as http,
    ):
        wait_until(lambda: "listening" in process.printed, START_S, "the gateway")
        yield http


def accepted(http: httpx.Client) -> str:
    answer = http.post("/api/jobs", json={"model": "neuron", "rollout": "manual"})
    assert answer.status_code == httpx.codes.ACCEPTED, answer.text
    return str(answer.json()["id"])


def list_queued_jobs(http: httpx.Client) -> list[str]:
    """All jobs that wait, the newest first, in pages of 120."""
    ids: list[str] = []
    query = {"state": "queued", "limit": 120}
    while page := http.get("/api/jobs", params=query).raise_for_status().json():
        ids += [job["id"] for job in page["jobs"]]
        if page["next"] is None:
            break
        query["before"] = page["next"]
    return ids


def count_open_files(worker: Running) -> dict[int, int]:
    """Open files of each of the worker's own processes, by process id; beside a training process."""
    own = [psutil.Process(worker.process.pid), *psutil.Process(worker.process.pid).children()]
    return {process.pid: process.num_fds() for process in own}
