"""The broker: chooses a job's queue, sends its id, and resends messages that were lost.

Slim: no Keras, no TensorFlow.
"""

import json
from collections.abc import Collection, Mapping
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError

from modelyard.models.errors import ModelyardError
from modelyard.services.ledger import MAX_BUDGET_S, Job, Ledger, Priority
from modelyard.services.queues import choose_queue
from modelyard.services.tracing.redis_client import RedisError

TASK = "modelyard.train"
STARTED_PRIORITY = 0
"""Priority of jobs that were started before and lost: they continue before anything new is begun."""
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
    name, priority = queue_and_priority(job, served)
    try:
        queue.send_task(TASK, args=[job.id], queue=name, priority=priority, task_id=job.id, connection=connection)
    except (OperationalError, RedisError, OSError) as error:
        raise QueueUnavailable("the job queue is not reachable") from error


def queue_and_priority(job: Job, served: Collection[str]) -> tuple[str, int]:
    """Name of the queue that a job's message waits in, and its priority there."""
    return choose_queue(job.devices, served), STARTED_PRIORITY if job.attempts else PRIORITIES[job.priority]


def resend_lost(ledger: Ledger, queue: Celery) -> list[str]:
    """Resends messages that the broker or a worker lost; returns the job ids.

    A worker that dies between taking a message off its list and writing down that it did takes the message with it; one
    that dies while training leaves it to the visibility timeout. A message too many does no harm, as when one was just
    taken and its job is about to be claimed: the claim decides.

    Raises:
        QueueUnavailable: the broker does not answer.
    """
    served = ledger.workers.list_queues()
    try:
        with queue.connection_for_write() as connection:
            waiting = [
                (job, queue_and_priority(job, served)) for job in (*ledger.jobs.list_lost(), *ledger.jobs.list_queued())
            ]
            present = {place: list_waiting(connection, *place) for place in {place for _, place in waiting}}
            lost = [job for job, place in waiting if job.id not in present[place]]
            for job in lost:
                send(queue, job, served, connection)
    except (OperationalError, RedisError, OSError) as error:
        raise QueueUnavailable("the job queue is not reachable") from error
    return [job.id for job in lost]


def require_broker(queue: Celery) -> None:
    """Raises ``QueueUnavailable`` if the broker does not answer."""
    try:
        with queue.connection_for_write() as connection:
            connection.default_channel.client.ping()
    except (OperationalError, RedisError, OSError) as error:
        raise QueueUnavailable("the job queue is not reachable") from error


def list_waiting(connection: Any, queue: str, priority: int) -> set[str]:
    """Ids of the jobs whose messages wait in a queue with this priority: kombu has a list for each."""
    channel = connection.default_channel
    name = channel._q_for_pri(queue, priority)  # noqa: SLF001  # there is no public name for it
    return {job_id for message in channel.client.lrange(name, 0, -1) if (job_id := read_job_id(message))}


def read_job_id(message: bytes) -> str | None:
    """The job of a message; None of an entry that is none, which the next worker drops."""
    try:
        found = json.loads(message)["headers"]["id"]
    except (ValueError, RecursionError, TypeError, KeyError, IndexError):
        return None
    return found if isinstance(found, str) else None


def make_sender(broker_url: str) -> Celery:
    """A client that submits: its calls fail within seconds if the broker hangs."""
    return _app(broker_url, {"socket_timeout": 2, "socket_connect_timeout": 1, "retry_on_timeout": False})


def make_consumer(broker_url: str, visibility_timeout_s: float = VISIBILITY_TIMEOUT_S) -> Celery:
    """A client that works: it waits for jobs, and for a broker that restarts.

    Args:
        visibility_timeout_s: seconds after which the message of a job that has not ended is delivered again. If that
            is too early, the claim refuses it.
    """
    from modelyard.services.redis_transport import Amqp  # a gateway only sends

    options = {"socket_timeout": 30, "socket_connect_timeout": 5, "retry_on_timeout": True}
    app = _app(broker_url, options, amqp=Amqp)
    app.conf.visibility_timeout = visibility_timeout_s
    app.conf.broker_transport_options["visibility_timeout"] = visibility_timeout_s
    return app


def _app(broker_url: str, options: dict[str, Any], **parts: type) -> Celery:
    app = Celery("modelyard", broker=broker_url, set_as_current=False, **parts)
    app.conf.update(SETTINGS, broker_transport_options=TRANSPORT | options)
    return app


TRANSPORT: dict[str, Any] = {
    # Redis delivers a message again after this long, by the wall clock; so it is longer than any job.
    "visibility_timeout": VISIBILITY_TIMEOUT_S,
    # Checked every 10 s; kombu would check every 100 s, ten times ten.
    "unacked_restore_throttle": 1,
    "queue_order_strategy": "priority",
    "priority_steps": sorted([STARTED_PRIORITY, *PRIORITIES.values()]),
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
    # Submitting fails within about two seconds.
    "task_publish_retry_policy": {"max_retries": 1, "interval_start": 0.1, "interval_step": 0.2, "interval_max": 0.5},
    # Forked workers start slowly on a busy machine; the default of 4 s kills them.
    "worker_proc_alive_timeout": 60,
    "worker_hijack_root_logger": False,
    "worker_send_task_events": False,
}
