"""What somebody else has put into Redis: a worker drops it, says so, and takes the next job."""

import base64
import json
from typing import Any

from redis import Redis

from modelyard.services import broker, queues
from modelyard.services.ledger import Job, Priority, State
from tests.support.processes import Running
from tests.support.training import TrainingCluster
from tests.support.waiting import wait_until

LISTS = [queues.CPU_QUEUE, *(f"{queues.CPU_QUEUE}\x06\x16{step}" for step in broker.PRIORITIES.values())]
"""Redis's lists of one queue: one for each priority."""
NO_JSON = [b"garbage", b"\xff\xfe\x00", b"{", b"[" * 100_000, b'{"__type__": "uuid", "__value__": "x"}']
NO_MESSAGE = [b"[]", b"null", b"1", b'"x"', b"{}", b'{"headers": {}, "properties": {}, "body": "e30="}']


def message(body: Any, **headers: Any) -> bytes:
    """As kombu writes one, but for what is given."""
    named = {"task": broker.TASK, "id": "job-0000000000000000", "lang": "py", "root_id": "x", "argsrepr": "", **headers}
    properties = {
        "delivery_tag": "tag",
        "body_encoding": "base64",
        "delivery_mode": 2,
        "delivery_info": {"exchange": "", "routing_key": queues.CPU_QUEUE},
        "priority": 0,
    }
    encoded = body if isinstance(body, str) else base64.b64encode(json.dumps(body).encode()).decode()
    known = {"content-type": "application/json", "content-encoding": "utf-8"}
    return json.dumps({"body": encoded, "headers": named, "properties": properties, **known}).encode()


JOB = [["job-0000000000000000"], {}, {}]
"""Of no job: the task itself refuses it."""
DAMAGED = [
    *(
        message(body)
        for body in ("!!!", "", {}, [[], {}, {}], [[7], {}, {}], [["x", "y"], {}, {}], [["x"], {"y": 1}, {}])
    ),
    message(JOB, task="os.system"),
    message(JOB, task=["modelyard.train"]),
    message(JOB, id=None),
    message(JOB).replace(b'"application/json"', b'"application/x-python-serialize"'),
]
"""Nearly a message."""


def test_a_worker_outlives_what_is_no_message_and_takes_the_next_job(cluster: TrainingCluster) -> None:
    """In each priority's list, before the worker starts and while it waits; every entry is logged, none is left."""
    redis = Redis(unix_socket_path=str(cluster.socket))
    entries = [*NO_JSON, *NO_MESSAGE, *DAMAGED]
    for name in LISTS:
        redis.lpush(name, *entries)
    first = cluster.submit("no_such_model")
    worker = cluster.worker("one")
    await_failure(cluster, worker, first)
    redis.lpush(LISTS[0], *entries, message(JOB))  # the first list is read first
    await_failure(cluster, worker, cluster.submit("no_such_model", priority=Priority.HIGH))
    dropped = (len(LISTS) + 1) * len(entries)
    wait_until(lambda: worker.printed.count("message dropped") == dropped, what="all entries")
    assert not any(redis.llen(name) for name in LISTS)


def await_failure(cluster: TrainingCluster, worker: Running, job: Job) -> None:
    """Its model is unknown: to fail is all that it does."""
    wait_until(lambda: cluster.job(job).finished_at or worker.process.poll() is not None, what="the job's end")
    assert (worker.process.poll(), cluster.job(job).state) == (None, State.FAILED), worker.printed[-3000:]


def test_a_job_behind_garbage_is_still_found_and_sent_again(cluster: TrainingCluster) -> None:
    """Looking for lost messages reads the same lists."""
    redis = Redis(unix_socket_path=str(cluster.socket))
    job = cluster.submit("no_such_model")
    for name in LISTS:
        redis.delete(name)
        redis.lpush(name, *NO_JSON, *NO_MESSAGE, *DAMAGED)
    assert broker.resend_lost(cluster.ledger, cluster.queue) == [job.id]
    assert broker.resend_lost(cluster.ledger, cluster.queue) == []
