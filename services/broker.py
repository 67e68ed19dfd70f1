"""The broker's side of the queue: which queue a job waits in, sending its id, and finding messages that were lost.

Slim: no Keras, no TensorFlow.
"""

import json
from collections.abc import Collection, Mapping
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from modelyard.models.errors import ModelyardError
from modelyard.services.ledger import MAX_BUDGET_S, Job, Ledger, Priority

TASK = "modelyard.train"
CPU_QUEUE, GPU_QUEUE = "train.cpu", "train.gpu"
STARTED_BEFORE = 0
"""Of jobs that a worker or a process was lost with: they go on before anything new is begun."""
PRIORITIES: Mapping[Priority, int] = {Priority.HIGH: 1, Priority.NORMAL: 5, Priority.LOW: 9}
"""In Redis 0 goes first (celery, docs/userguide/routing.rst)."""
VISIBILITY_TIMEOUT_S = MAX_BUDGET_S + 3600


class QueueUnavailable(ModelyardError):
    """The broker did not take the job; nothing was accepted."""

    status = 503


def send(queue: Celery, job: Job, served: Collection[str], connection: Any = None) -> None:
    """Puts a job's id into its queue; raises ``QueueUnavailable``.

    Args:
        served: queues that some worker takes jobs from.
    """
    name, priority = lane_of(job, served)
    try:
        queue.send_task(TASK, args=[job.id], queue=name, priority=priority, task_id=job.id, connection=connection)
    except (OperationalError, RedisError, OSError) as error:
        raise QueueUnavailable("the job queue is not reachable") from error


def lane_of(job: Job, served: Collection[str]) -> tuple[str, int]:
    """The queue that a job's message waits in, and its priority there."""
    return queue_of(job.devices, served), STARTED_BEFORE if job.attempts else PRIORITIES[job.priority]


def queue_of(devices: str, served: Collection[str]) -> str:
    """Where a job waits that is to be trained on ``devices``: auto takes a GPU if some worker has one."""
    if devices == "auto":
        return GPU_QUEUE if GPU_QUEUE in served else CPU_QUEUE
    if devices == "cpu":
        return CPU_QUEUE
    return gpu_queue(1 if devices == "gpu" else int(devices))


def gpu_queue(count: int) -> str:
    """Where jobs wait that train on so many GPUs of one host."""
    return GPU_QUEUE if count == 1 else f"{GPU_QUEUE}.{count}"


def queues_of_worker(gpus: int) -> tuple[str, ...]:
    """Those that a worker with so many GPUs takes jobs from; without any, those of the CPU."""
    return tuple(gpu_queue(count) for count in range(1, gpus + 1)) or (CPU_QUEUE,)


def resend_lost(ledger: Ledger, queue: Celery) -> list[str]:
    """Sends again what the broker or a worker lost; returns the job ids.

    A worker that dies between taking a message off its list and writing down that it did takes the message with it; one
    that dies while training leaves it to the visibility timeout. A message too many does no harm, as when one was just
    taken and its job is about to be claimed: the claim decides.

    Raises:
        QueueUnavailable: the broker cannot be asked.
    """
    served = ledger.workers.queues()
    try:
        with queue.connection_for_write() as connection:
            waiting = [(job, lane_of(job, served)) for job in (*ledger.jobs.lost(), *ledger.jobs.queued())]
            there = {lane: ids(connection, *lane) for lane in {lane for _, lane in waiting}}
            lost = [job for job, lane in waiting if job.id not in there[lane]]
            for job in lost:
                send(queue, job, served, connection)
    except (OperationalError, RedisError, OSError) as error:
        raise QueueUnavailable("the job queue is not reachable") from error
    return [job.id for job in lost]


def require(queue: Celery) -> None:
    """Raises ``QueueUnavailable`` if the broker does not answer."""
    try:
        with queue.connection_for_write() as connection:
            connection.default_channel.client.ping()
    except (OperationalError, RedisError, OSError) as error:
        raise QueueUnavailable("the job queue is not reachable") from error


def ids(connection: Any, queue: str, priority: int) -> set[str]:
    """The jobs whose messages wait in a queue with this priority: kombu keeps a list for each."""
    channel = connection.default_channel
    name = channel._q_for_pri(queue, priority)  # noqa: SLF001  # there is no public name for it
    return {json.loads(message)["headers"]["id"] for message in channel.client.lrange(name, 0, -1)}


def sender(broker_url: str) -> Celery:
    """The queue as those see it who submit: they are told within seconds if the broker hangs."""
    return _app(broker_url, {"socket_timeout": 2, "socket_connect_timeout": 1, "retry_on_timeout": False})


def consumer(broker_url: str, visibility_timeout_s: float = VISIBILITY_TIMEOUT_S) -> Celery:
    """The queue as a worker sees it: it waits for work, and for a broker that comes back.

    Args:
        visibility_timeout_s: a message whose job has not ended for so long is given out again. If that comes too early,
            the claim refuses it.
    """
    app = _app(broker_url, {"socket_timeout": 30, "socket_connect_timeout": 5, "retry_on_timeout": True})
    app.conf.visibility_timeout = visibility_timeout_s
    app.conf.broker_transport_options["visibility_timeout"] = visibility_timeout_s
    return app


def _app(broker_url: str, patience: dict[str, Any]) -> Celery:
    app = Celery("modelyard", broker=broker_url, set_as_current=False)
    app.conf.update(SETTINGS, broker_transport_options=TRANSPORT | patience)
    return app


TRANSPORT: dict[str, Any] = {
    # Redis gives a message out again after this long, by the wall clock; so it is longer than any job.
    "visibility_timeout": VISIBILITY_TIMEOUT_S,
    # Looked at each 10 s; kombu would look each 100 s, ten times ten.
    "unacked_restore_throttle": 1,
    "queue_order_strategy": "priority",
    "priority_steps": sorted([STARTED_BEFORE, *PRIORITIES.values()]),
    "health_check_interval": 10,
}


SETTINGS: dict[str, Any] = {
    # JSON only: a pickle from the broker would be code (CVE-2021-23727).
    "accept_content": ["json"],
    "task_serializer": "json",
    "result_serializer": "json",
    # The truth about a job is in the ledger.
    "task_ignore_result": True,
    # A message is taken off the queue when the job has ended, and comes back when its worker was lost.
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "task_acks_on_failure_or_timeout": True,
    # A waiting job must not sit behind a long one in a worker's memory.
    "worker_prefetch_multiplier": 1,
    "worker_disable_prefetch": True,
    "visibility_timeout": VISIBILITY_TIMEOUT_S,
    "broker_connection_timeout": 2,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    # A blip of the broker must not kill a job that has run for an hour.
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    # Whoever submits is told within about two seconds.
    "task_publish_retry_policy": {"max_retries": 1, "interval_start": 0.1, "interval_step": 0.2, "interval_max": 0.5},
    # Forked workers start slowly on a busy machine; the default of 4 s kills them.
    "worker_proc_alive_timeout": 60,
    "worker_hijack_root_logger": False,
    "worker_send_task_events": False,
}
