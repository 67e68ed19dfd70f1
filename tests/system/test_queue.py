"""The queue on a real Redis: whatever happens to a message, an accepted job is found again."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from redis import Redis

from modelyard.services import broker, jobs, queues
from modelyard.services.cli.processes import redis_server
from modelyard.services.ledger import Job, JobRequest, Ledger, Priority, State
from tests.support.processes import WAIT_S
from tests.support.waiting import wait_until

WAITING = f"{queues.CPU_QUEUE}\x06\x16{broker.PRIORITIES[Priority.NORMAL]}"
"""Redis's list of those of usual priority."""


@pytest.fixture
def socket(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "redis.sock"
    server = subprocess.Popen(
        redis_server.build_command(redis_server.find_server(), path, tmp_path), stdout=subprocess.DEVNULL
    )
    wait_until(lambda: redis_server.is_answering(path), WAIT_S, "redis")
    yield path
    server.terminate()
    server.wait(WAIT_S)


@pytest.fixture
def queue(socket: Path) -> Celery:
    return broker.make_sender(redis_server.make_broker_url(socket))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    ledger.prepare()
    yield ledger
    ledger.close()


def submit(ledger: Ledger, queue: Celery, priority: Any = "normal") -> Job:
    return jobs.submit(ledger, queue, JobRequest(model="neuron", priority=priority), by="test")


def test_a_queued_job_whose_message_vanished_is_sent_again(ledger: Ledger, queue: Celery, socket: Path) -> None:
    """A worker killed between taking the message and noting that takes it along; here it is deleted."""
    job = submit(ledger, queue)
    assert broker.resend_lost(ledger, queue) == []  # the message is there
    redis = Redis(unix_socket_path=str(socket))
    assert redis.delete(WAITING) == 1
    assert broker.resend_lost(ledger, queue) == [job.id]
    assert job.id.encode() in redis.lindex(WAITING, 0)
    assert broker.resend_lost(ledger, queue) == []


def test_a_running_job_without_a_worker_is_sent_again_and_a_held_one_is_not(
    ledger: Ledger, queue: Celery, socket: Path
) -> None:
    """The lease decides, not the message."""
    held, lost = submit(ledger, queue), submit(ledger, queue)
    Redis(unix_socket_path=str(socket)).delete(WAITING)
    ledger.jobs.claim(held.id, "alive")
    ledger.jobs.claim(lost.id, "dead", lease_s=-1)
    assert broker.resend_lost(ledger, queue) == [lost.id]
    assert broker.resend_lost(ledger, queue) == []  # it waits, once


def test_a_lost_message_is_missed_though_others_wait(ledger: Ledger, queue: Celery, socket: Path) -> None:
    """Each job's own message is looked for, not whether any is left."""
    lost, *others = [submit(ledger, queue) for _ in range(3)]
    redis = Redis(unix_socket_path=str(socket))
    taken = redis.rpop(WAITING)  # by a worker that dies before it noted that
    assert isinstance(taken, bytes)
    assert lost.id.encode() in taken
    assert broker.resend_lost(ledger, queue) == [lost.id]
    assert broker.resend_lost(ledger, queue) == []
    with queue.connection_for_read() as connection:
        channel = connection.default_channel
        order = [channel.basic_get(queues.CPU_QUEUE, no_ack=True).headers["id"] for _ in range(3)]
    assert order == [*(job.id for job in others), lost.id]


def test_a_job_whose_worker_could_not_hand_it_over_is_sent_again(ledger: Ledger, queue: Celery) -> None:
    """A stopping worker could not send it, as Redis was away; its old message lies where only new jobs wait."""
    stopped, _ = submit(ledger, queue), submit(ledger, queue)
    claimed = ledger.jobs.claim(stopped.id, "stopping")
    assert claimed
    ledger.jobs.requeue(claimed, "its worker stopped", lost=False)
    assert broker.resend_lost(ledger, queue) == [stopped.id]


def test_a_job_that_was_started_before_goes_on_before_anything_new(ledger: Ledger, queue: Celery) -> None:
    """However many wait, and of whatever priority: else a lost job would wait for all of them."""
    started, urgent = submit(ledger, queue), submit(ledger, queue, "high")
    usual = [submit(ledger, queue) for _ in range(3)]
    ledger.jobs.claim(started.id, "dead", lease_s=-1)
    assert broker.resend_lost(ledger, queue) == [started.id]
    with queue.connection_for_read() as connection:
        channel = connection.default_channel
        order = [channel.basic_get(queues.CPU_QUEUE, no_ack=True).headers["id"] for _ in range(6)]
    assert order == [started.id, urgent.id, started.id, *(job.id for job in usual)]


def test_an_ended_job_is_never_sent_again(ledger: Ledger, queue: Celery, socket: Path) -> None:
    """Final is final."""
    claimed = ledger.jobs.claim(submit(ledger, queue).id, "worker")
    assert claimed
    Redis(unix_socket_path=str(socket)).delete(WAITING)
    ledger.jobs.finish(claimed, State.FAILED, {})
    assert broker.resend_lost(ledger, queue) == []


@pytest.mark.parametrize(
    ("devices", "served", "queue_name"),
    [
        ("auto", [], "train.cpu"),
        ("auto", ["train.cpu"], "train.cpu"),
        ("auto", ["train.cpu", "train.gpu"], "train.gpu"),
        ("cpu", ["train.gpu"], "train.cpu"),
        ("gpu", ["train.cpu"], "train.gpu"),
        ("1", [], "train.gpu"),
        ("4", ["train.gpu"], "train.gpu.4"),
    ],
)
def test_a_job_waits_where_what_it_is_to_be_trained_on_is(devices: str, served: list[str], queue_name: str) -> None:
    """Automatic: on a GPU, if some worker has one."""
    assert queues.choose_queue(devices, served) == queue_name


def test_a_worker_takes_jobs_that_its_gpus_are_enough_for() -> None:
    """Without GPUs, those of the CPU."""
    assert queues.list_worker_queues(0) == ("train.cpu",)
    assert queues.list_worker_queues(1) == ("train.gpu",)
    assert queues.list_worker_queues(3) == ("train.gpu", "train.gpu.2", "train.gpu.3")


def test_a_waiting_job_follows_the_workers_that_are_there(ledger: Ledger, queue: Celery) -> None:
    """The only worker with a GPU has left: its jobs go to the CPU, unless they require a GPU."""
    ledger.workers.register("gpu-1", ["train.gpu"])
    job = submit(ledger, queue)
    bound = jobs.submit(ledger, queue, JobRequest(model="neuron"), by="test", devices="gpu")
    assert waiting(queue) == {"train.gpu": 2, "train.cpu": 0}
    ledger.workers.unregister("gpu-1")
    assert broker.resend_lost(ledger, queue) == [job.id]
    assert waiting(queue) == {"train.gpu": 2, "train.cpu": 1}
    assert ledger.jobs.get(bound.id).state is State.QUEUED


def waiting(queue: Celery) -> dict[str, int]:
    with queue.connection_for_write() as connection:
        usual = broker.PRIORITIES[Priority.NORMAL]
        return {
            name: len(broker.list_waiting(connection, name, usual)) for name in (queues.GPU_QUEUE, queues.CPU_QUEUE)
        }


def test_a_broker_that_is_away_is_one_clear_error(ledger: Ledger, tmp_path: Path) -> None:
    """Nothing is lost by asking."""
    ledger.jobs.add(JobRequest(model="neuron"), by="test")
    with pytest.raises(broker.QueueUnavailable):
        broker.resend_lost(ledger, broker.make_sender(redis_server.make_broker_url(tmp_path / "none.sock")))
