"""The queue on a real Redis: whatever happens to a message, an accepted job is found again."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery
from redis import Redis

from services import jobs
from services.cli import redis_server
from services.ledger import Job, Ledger, State
from tests.system.conftest import wait_until


@pytest.fixture
def socket(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "redis.sock"
    server = subprocess.Popen(
        redis_server.command(redis_server.find_server(), path, tmp_path), stdout=subprocess.DEVNULL
    )
    wait_until(lambda: redis_server.answers(path), 20, "redis")
    yield path
    server.terminate()
    server.wait(20)


@pytest.fixture
def queue(socket: Path) -> Celery:
    return jobs.sender(redis_server.broker_url(socket))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    ledger.prepare()
    yield ledger
    ledger.close()


def submit(ledger: Ledger, queue: Celery) -> Job:
    return jobs.submit(ledger, queue, jobs.TrainJob(model="neuron"), by="test")


def test_a_queued_job_whose_message_vanished_is_sent_again(ledger: Ledger, queue: Celery, socket: Path) -> None:
    """A worker killed between taking the message and noting that takes it along; here it is deleted."""
    job = submit(ledger, queue)
    assert jobs.resend_lost(ledger, queue) == []  # the message is there
    broker = Redis(unix_socket_path=str(socket))
    assert broker.delete(jobs.QUEUE) == 1
    assert jobs.resend_lost(ledger, queue) == [job.id]
    assert job.id.encode() in broker.lindex(jobs.QUEUE, 0)
    assert jobs.resend_lost(ledger, queue) == []


def test_a_running_job_without_a_worker_is_sent_again_and_a_held_one_is_not(
    ledger: Ledger, queue: Celery, socket: Path
) -> None:
    """The lease decides, not the message."""
    held, lost = submit(ledger, queue), submit(ledger, queue)
    Redis(unix_socket_path=str(socket)).delete(jobs.QUEUE)
    ledger.claim(held.id, "alive")
    ledger.claim(lost.id, "dead", lease_s=-1)
    assert jobs.resend_lost(ledger, queue) == [lost.id]


def test_an_ended_job_is_never_sent_again(ledger: Ledger, queue: Celery, socket: Path) -> None:
    """Final is final."""
    claimed = ledger.claim(submit(ledger, queue).id, "worker")
    assert claimed
    Redis(unix_socket_path=str(socket)).delete(jobs.QUEUE)
    ledger.finish(claimed, State.FAILED, {})
    assert jobs.resend_lost(ledger, queue) == []


def test_a_broker_that_is_away_is_one_clear_error(ledger: Ledger, tmp_path: Path) -> None:
    """Nothing is lost by asking."""
    with pytest.raises(jobs.QueueUnavailable):
        jobs.resend_lost(ledger, jobs.sender(redis_server.broker_url(tmp_path / "none.sock")))
