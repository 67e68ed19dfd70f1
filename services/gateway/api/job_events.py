"""A job's story while it happens, as Server-Sent Events (https://html.spec.whatwg.org/multipage/server-sent-events.html).

Events of the ledger have an id, from which a caller goes on after a broken connection (``Last-Event-ID``); between them
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

Look = Callable[[int], "tuple[Job, Sequence[Event]]"]
"""A job as it is now, and its events after one; the job is read first, so that its end is among them."""
TYPE = "text/event-stream"
MOST = 100
"""Streams at the same time."""
LOOK_S = 0.5
"""Between two looks into the ledger."""
SILENCE_S = 15.0
"""After so long without news comes a comment: a connection that is gone is only noticed by sending."""
RETRY_MS = 2000
"""How long a browser waits before it connects again."""


class TooManyListeners(ModelyardError):
    """There is no place for another stream."""

    status = 503


class Streams:
    """All open streams."""

    def __init__(self, loop: EventLoop, draining: Callable[[], bool]) -> None:
        self._loop = loop
        self._draining = draining
        self._open = 0

    def follow(
        self, look: Look, after: int, environ: Mapping[str, Any], is_welcome: Callable[[], bool]
    ) -> Iterator[bytes] | None:
        """What happens from the event after ``after`` on; None if the job has ended and nothing is left to say.

        Args:
            is_welcome: whether the caller still is: a stream ends when its key does.

        Raises:
            UnknownName: no such job.
            TooManyListeners: try later.
        """
        job, events = self._in_thread(look, after)
        if job.finished_at and not events:
            return None
        if self._open >= MOST:
            raise TooManyListeners(f"{MOST} listeners already; try again later")
        return self._followed(look, after, environ, is_welcome)

    def _followed(
        self, look: Look, after: int, environ: Mapping[str, Any], is_welcome: Callable[[], bool]
    ) -> Iterator[bytes]:
        self._open += 1
        caller = find_client_socket(environ)
        try:
            yield b"retry: %d\n\n" % RETRY_MS
            for message in self._messages(look, after):
                if message:
                    yield message
                if self._draining() or not is_welcome() or (caller and self._has_left(caller)):
                    return
        finally:
            self._open -= 1
            if caller:
                caller.close(abort=False)

    def _messages(self, look: Look, after: int) -> Iterator[bytes]:
        """Until the job has ended; an empty one after each look, for whoever wants to stop."""
        shown: Mapping[str, Any] = {}
        said_at = time.monotonic()
        while True:
            job, events = self._in_thread(look, after)
            for event in events:
                yield message(event.kind, {**event.body, "at": event.at}, event.id)
                after, said_at = event.id, time.monotonic()
            if job.finished_at:
                return
            if job.progress and job.progress != shown:
                shown, said_at = job.progress, time.monotonic()
                yield message("now", shown)
            elif time.monotonic() - said_at > SILENCE_S:
                said_at = time.monotonic()
                yield b":\n\n"
            yield b""
            self._loop.wait_for(asyncio.sleep(LOOK_S))

    def _has_left(self, caller: ClientSocket) -> bool:
        """Whether the caller closed the connection, or takes nothing any more."""
        try:
            self._loop.wait_for(caller.wait_until_writable(SILENCE_S))
        except TimeoutError:
            return True
        return caller.is_gone()

    def _in_thread(self, look: Look, after: int) -> "tuple[Job, Sequence[Event]]":
        """A database blocks."""
        return self._loop.wait_for(asyncio.to_thread(look, after))


def message(kind: str, data: Mapping[str, Any], number: int | None = None) -> bytes:
    """One event; JSON has no line breaks, so the data is one line."""
    head = b"" if number is None else b"id: %d\n" % number
    return head + b"event: " + kind.encode() + b"\ndata: " + orjson.dumps(data) + b"\n\n"
