"""kombu's Redis transport, for a worker that goes on whatever somebody has put into its lists.

kombu takes every entry for a message of its own: one that is none raises an error in the worker's loop, which ends the
worker. The entry is off the list by then, so the job of a damaged message is not lost: the ledger has it, and a trainer
sends it again (``broker.resend_lost``).
"""

import base64
import json
from typing import Any

import structlog
from celery.app.amqp import AMQP
from kombu import connection as kombu_connection

from modelyard.models.imports import hide_module

with hide_module("opentelemetry"):  # see services/tracing/redis_client.py
    from kombu.transport import redis

log = structlog.get_logger()

TASK, QUEUES = "modelyard.train", "train."
KIND = (TASK, "base64", "application/json", "utf-8")
SHOWN_CHARS = 200
UNREADABLE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What kombu's JSON raises: beside the syntax it reads values with a ``__type__``."""


class Channel(redis.Channel):
    """Drops entries that are no JSON."""

    def _brpop_read(self, **options: Any) -> Any:
        """Called when Redis has an entry for the worker, or none in time (then it raises ``queue.Empty``)."""
        self.connection.is_delivering = False
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]  # kombu is partly typed
        except UNREADABLE as error:
            if self.connection.is_delivering:
                raise
            log.error("message dropped", cause=f"not JSON: {error}"[:SHOWN_CHARS])  # noqa: TRY400  # no fault of ours
            return True


class Transport(redis.Transport):
    """Drops entries of the queues of jobs that are no job's message. Celery's own queues are none of these."""

    Channel = Channel
    is_delivering = False
    """Whether the entry that was read last has been decoded."""

    def _deliver(self, message: Any, queue: str) -> None:
        self.is_delivering = True
        if queue.startswith(QUEUES) and not is_job_message(message):
            log.error("message dropped", queue=queue, cause="not a job's", begins=repr(message)[:SHOWN_CHARS])
            return
        super()._deliver(message, queue)  # type: ignore[no-untyped-call]  # likewise


def is_job_message(message: Any) -> bool:
    """Whether it is as ``broker.send`` writes it; of anything less, kombu and Celery raise what ends the worker."""
    try:
        headers, properties = message["headers"], message["properties"]
        ((job_id,), named, _) = json.loads(base64.b64decode(message["body"], validate=True))
        kind = (headers["task"], properties["body_encoding"], message["content-type"], message["content-encoding"])
        texts = (job_id, headers["id"], properties["delivery_tag"])
        return kind == KIND and named == {} and all(isinstance(text, str) for text in texts)
    except (TypeError, ValueError, LookupError):
        return False


class Connection(kombu_connection.Connection):
    """A connection through ``Transport``, whatever the scheme of its URL."""

    def get_transport_cls(self) -> type[Transport]:
        return Transport


class Amqp(AMQP):  # type: ignore[misc]  # Celery has no type information
    """What Celery makes its connections of."""

    Connection = Connection
