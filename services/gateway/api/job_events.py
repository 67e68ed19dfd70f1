"""Streams a job's events as Server-Sent Events (https://html.spec.whatwg.org/multipage/server-sent-events.html).

Events of the ledger have an id, from which a client goes on after a broken connection (``Last-Event-ID``); between them
stands what the job says of itself at the moment, without one. The stream ends with the job. It runs on the event loop:
a hundred listeners hold no thread.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from modelyard.models.errors import ModelyardError
from modelyard.services.gateway.http.client_socket import ClientSocket, find_client_socket
from modelyard.services.gateway.http.greenlets import EventLoop

if TYPE_CHECKING:
    from modelyard.services.ledger import Event, Job

Poll = Callable[[int], "tuple[Job, Sequence[Event]]"]
"""A job as it is now, and its events after one; the job is read first, so that its end is among them."""
TYPE = "text/event-stream"
MAX_STREAMS = 100
"""Streams at the same time."""
POLL_INTERVAL_S = 0.5
"""Between two polls of the ledger."""
HEARTBEAT_S = 15.0
"""After so long without news comes a comment: a connection that is gone is only noticed by sending."""
RETRY_MS = 2000
"""How long a browser waits before it connects again."""


class TooManyListeners(ModelyardError):
    """The limit of open streams is reached."""

    status = 503


class Streams:
    """All open streams."""

    def __init__(self, loop: EventLoop, draining: Callable[[], bool]) -> None:
        self._loop = loop
        self._draining = draining
        self._open = 0

    def follow(
        self, poll: Poll, after: int, environ: Mapping[str, Any], is_valid: Callable[[], bool]
    ) -> Iterator[bytes] | None:
        """Events from the one after ``after`` on; None if the job has ended and there are no further ones.

        Args:
            is_valid: whether the principal's key is still valid; the stream ends with it.

        Raises:
            UnknownName: no such job.
            TooManyListeners: try later.
        """
        job, events = self._in_thread(poll, after)
        if job.finished_at and not events:
            return None
        if self._open >= MAX_STREAMS:
            raise TooManyListeners(f"{MAX_STREAMS} listeners already; try again later")
        return self._stream(poll, after, environ, is_valid)

    def _stream(
        self, poll: Poll, after: int, environ: Mapping[str, Any], is_valid: Callable[[], bool]
    ) -> Iterator[bytes]:
        self._open += 1
        client = find_client_socket(environ)
        try:
            yield b"retry: %d\n\n" % RETRY_MS
            for message in self._messages(poll, after):
                if message:
                    yield message
                if self._draining() or not is_valid() or (client and self._has_left(client)):
                    return
        finally:
            self._open -= 1
            if client:
                client.close(abort=False)

    def _messages(self, poll: Poll, after: int) -> Iterator[bytes]:
        """Messages until the job has ended; an empty one after each poll, so that the stream can be closed."""
        sent: Mapping[str, Any] = {}
        sent_at = time.monotonic()
        while True:
            job, events = self._in_thread(poll, after)
            for event in events:
                yield message(event.kind, {**event.body, "at": event.at}, event.id)
                after, sent_at = event.id, time.monotonic()
            if job.finished_at:
                return
            if job.progress and job.progress != sent:
                sent, sent_at = job.progress, time.monotonic()
                yield message("now", sent)
            elif time.monotonic() - sent_at > HEARTBEAT_S:
                sent_at = time.monotonic()
                yield b":\n\n"
            yield b""
            self._loop.wait_for(asyncio.sleep(POLL_INTERVAL_S))

    def _has_left(self, client: ClientSocket) -> bool:
        """Whether the client closed the connection, or has stopped reading."""
        try:
            self._loop.wait_for(client.wait_until_writable(HEARTBEAT_S))
        except TimeoutError:
            return True
        return client.is_gone()

    def _in_thread(self, poll: Poll, after: int) -> "tuple[Job, Sequence[Event]]":
        """Polls in a thread, as a database blocks."""
        return self._loop.wait_for(asyncio.to_thread(poll, after))


def message(kind: str, data: Mapping[str, Any], number: int | None = None) -> bytes:
    """One event; JSON has no line breaks, so the data is one line."""
    head = b"" if number is None else b"id: %d\n" % number
    return head + b"event: " + kind.encode() + b"\ndata: " + orjson.dumps(data) + b"\n\n"
