"""Bodies as granian hands them over: whole, within size and time, or chunk by chunk."""

import asyncio
import contextlib
import io
import random
from collections.abc import AsyncIterator
from typing import Any, get_args

from granian.rsgi import ProtocolClosed  # type: ignore[attr-defined]  # it is meant for applications, and not exported

from modelyard.services.gateway.http.body import BodyLimit, SizeSetting, find_limit
from modelyard.services.gateway.http.errors import RETRY_AFTER_S, BodyBroken
from modelyard.services.gateway.http.greenlets import EventLoop
from modelyard.services.gateway.http.headers import Headers
from modelyard.services.gateway.server.refused import Refused
from modelyard.services.gateway.settings import GatewaySettings

SMALL_BODY_BYTES = 8 * 1024
"""Bodies up to this size have arrived with their headers, as a rule."""

DISCARDED_BYTES = 64 * 1024 * 1024
"""Largest refused body that is read to its end, so that its client, or a proxy, reads the response."""


class BodyReader:
    """Reads whole bodies, and counts the memory that they take until each is released."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._limit = max(find_limit(settings, setting) for setting in get_args(SizeSetting))
        self._timeout_s = settings.body_timeout_s
        self._max_held = settings.max_bytes_in_flight
        self._held = 0

    async def read(self, headers: Headers, protocol: Any, limit: BodyLimit | None = None) -> bytes:
        """The whole body, within size, time and memory; a client that stalls holds no thread.

        Its bytes count as held until ``release``, also while they arrive.

        Args:
            limit: where it is lower than that of all bodies.

        Raises:
            Refused: 413, 408, 503, or 400 where the connection broke off.
        """
        if "content-length" not in headers and "transfer-encoding" not in headers:
            return b""
        limit = limit or self._limit
        announced = headers.get("content-length", "")
        size = int(announced) if announced.isdecimal() else 0
        if size > limit.max_bytes:
            raise Refused(413, limit.describe(announced[:20]), unread=True)
        self._hold(size)
        try:
            body = await self._receive(announced, protocol, limit)
            if announced and len(body) != size:
                raise Refused(400, f"expected {size} bytes as announced, received {len(body)}", connection="close")
        except BaseException:
            self.release(size)
            raise
        return body

    def release(self, size: int) -> None:
        """A body of this size is no longer in memory."""
        self._held -= size

    def _hold(self, size: int) -> None:
        if self._held + size > self._max_held:
            retry_after_s = str(random.randint(*RETRY_AFTER_S))
            text = f"the bodies of requests in progress fill {self._max_held} bytes; try again later"
            raise Refused(503, text, unread=True, **{"retry-after": retry_after_s})
        self._held += size

    async def _receive(self, announced: str, protocol: Any, limit: BodyLimit) -> bytes:
        try:
            with Alarm(self._timeout_s):
                body = bytes(await (protocol() if announced else self._receive_chunks(protocol, limit)))
        except (ProtocolClosed, BodyBroken):
            whole = f"{announced[:20]} bytes as announced" if announced else "a whole body"
            raise Refused(400, f"expected {whole}; the connection was closed before", connection="close") from None
        except TimeoutError:
            seconds = f"{self._timeout_s:g} s"
            raise Refused(408, f"expected the whole body within {seconds}", connection="close") from None
        return body

    async def _receive_chunks(self, protocol: Any, limit: BodyLimit) -> bytearray:
        """A body of unknown length, which is held as it grows; refused as soon as it is too large."""
        body = bytearray()  # a list of chunks, which may have one byte each, would take many times as much
        try:
            async for chunk in iterate_chunks(protocol):
                self._hold(len(chunk))
                body += chunk
                if len(body) > limit.max_bytes:
                    raise Refused(413, limit.describe("more"), connection="close")
        except BaseException:
            self.release(len(body))
            raise
        return body

    async def discard(self, scope: Any, protocol: Any) -> None:
        """Reads what a refused client still sends: were the connection closed on it, the response could be lost."""
        announced = scope.headers.get("content-length") or ""
        if not announced.isdecimal() or not SMALL_BODY_BYTES < int(announced) <= DISCARDED_BYTES:
            return
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(self._timeout_s):
                async for _ in protocol:
                    pass


class Alarm:
    """As ``asyncio.timeout``, around what one task awaits, for a quarter of its time: most bodies are there soon."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._rang = False

    def __enter__(self) -> None:
        """To be entered by the task."""
        self._task = asyncio.current_task()
        self._timer = asyncio.get_running_loop().call_later(self._timeout_s, self._ring)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Raises ``TimeoutError`` if the time was up."""
        self._timer.cancel()
        if self._rang and self._task and kind is asyncio.CancelledError and not self._task.uncancel():
            raise TimeoutError

    def _ring(self) -> None:
        self._rang = True
        if self._task:
            self._task.cancel()


class StreamedBody(io.RawIOBase):
    """A body that is read while it arrives, by a view that runs on the loop."""

    def __init__(self, protocol: Any, loop: EventLoop, timeout_s: float) -> None:
        self._chunks = iterate_chunks(protocol)
        self._loop = loop
        self._timeout_s = timeout_s
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """As ``io.RawIOBase``; raises ``TimeoutError`` when the next chunk does not come, or ``BodyBroken``."""
        if not self._rest:
            self._rest = self._loop.wait_for(self._next())
        count = min(len(buffer), len(self._rest))
        buffer[:count], self._rest = self._rest[:count], self._rest[count:]
        return count

    async def _next(self) -> bytes:
        async with asyncio.timeout(self._timeout_s):
            try:
                return await anext(self._chunks)
            except StopAsyncIteration:
                return b""


async def iterate_chunks(protocol: Any) -> AsyncIterator[bytes]:
    """The chunks of a body, none of them empty.

    granian's own iterator ends in the same way after a whole body and after a part of one. It yields an empty chunk at
    the end, though, and another one before that for an error, or for trailers (``src/rsgi/io.rs``), which no client of
    ours needs.

    Raises:
        BodyBroken: the connection was closed before the end, a chunk was malformed, or trailers follow the body.
    """
    empty = 0
    async for chunk in protocol:
        if chunk:
            yield bytes(chunk)
        else:
            empty += 1
    if empty > 1:
        raise BodyBroken("expected a whole body without trailers; the connection was closed before its end")
