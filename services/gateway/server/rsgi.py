"""The HTTP front: from granian's RSGI (https://github.com/emmett-framework/granian, docs/spec/RSGI.md) to Flask's WSGI.

What only the front can do is here: who is let in, before the body is read; how long and how large a body may be, while
it arrives; and where the application runs. Predictions run on the event loop's thread, as greenlets that give way while
they wait; everything else may block on a disk or a database, and gets a thread.
"""

import asyncio
import contextlib
import io
import math
import random
import re
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
import structlog

from modelyard.models.errors import ModelyardError
from modelyard.services.gateway import access_log as access
from modelyard.services.gateway.auth.guard import Door
from modelyard.services.gateway.auth.principal import EVERYBODY, NOBODY, Caller
from modelyard.services.gateway.http import cors, errors
from modelyard.services.gateway.http import greenlets as waiting
from modelyard.services.gateway.http.deadline import HEADER as TIMEOUT_HEADER
from modelyard.services.gateway.http.errors import RETRY_AFTER_S
from modelyard.services.gateway.server.admission import Admission
from modelyard.services.gateway.server.loop_lag import Pace
from modelyard.services.gateway.server.wsgi_bridge import (
    Answer,
    Headers,
    Wsgi,
    body_of,
    called,
    environ_of,
)
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.keys import without_secrets

log = structlog.get_logger()

Quick = Callable[[str, str, Headers, bytes, Caller], Awaitable[Any]]
"""``fast_lane.FastLane.answer``: path, query, headers, body and caller of a prediction to its answer, or None."""
PREDICTION = re.compile(
    r"/v1/models/([^/:]+)[^:]*:(?:predict|classify|regress)|/v2/models/([^/]+)(?:/versions/[^/]+)?/infer",
    re.IGNORECASE,
)
"""Paths that are predictions, and their model."""
ON_THE_LOOP = re.compile(r"/healthz|/livez|/api/jobs/[^/]+/events")
"""Other paths that never block the loop's thread."""
STREAMED = frozenset({"application/jsonl", "application/x-ndjson", "application/jsonlines"})
"""Content types whose bodies are read by the view, piece by piece."""
CLASS_HEADER = "x-request-class"
AT_ONCE_BYTES = 8 * 1024
"""Bodies up to this size have arrived with their headers, as a rule."""
MOST_HEADERS = 64
MOST_RETRY_AFTER_S = 30


class Refused(Exception):
    """The front's own answer, without the application."""

    def __init__(self, status: int, text: str, *, unread: bool = False, **headers: str) -> None:
        """``unread``: the caller may still be sending the body."""
        super().__init__(text)
        self.status = status
        self.unread = unread
        self.headers = headers


class Front:
    """The RSGI application around the WSGI one."""

    def __init__(
        self, app: Wsgi, settings: GatewaySettings, loop: waiting.EventLoop, quick: Quick, door: Door | None = None
    ) -> None:
        """``door``: None where there are no keys."""
        self._app = app
        self._quick = quick
        self._door = door
        self._settings = settings
        self._loop = loop
        self._admission = Admission(settings.max_in_flight)
        self._pace = Pace()
        self._threads = ThreadPoolExecutor(settings.threads, "view")
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._most_bytes = max(settings.max_json_bytes, settings.max_image_bytes, settings.max_tensor_bytes)

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        """One request."""
        self._under_way += 1
        self._idle.clear()
        try:
            await self._admit(scope, protocol)
        except Refused as refused:
            body = orjson.dumps({"error": without_secrets(str(refused))})
            said = access.headers_of(access.request_id(scope.headers.get("x-request-id") or ""), None, None)
            marks = cors.headers_of(scope.path, scope.headers.get("origin"), self._settings.cors_origins)
            headers = [("content-type", "application/json"), *said, *marks.items(), *refused.headers.items()]
            protocol.response_bytes(refused.status, headers, body)
            if refused.unread:
                await self._discard(scope, protocol)
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()

    async def drained(self, patience_s: float) -> bool:
        """Waits until nothing is under way; False if that takes longer."""
        try:
            async with asyncio.timeout(patience_s):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    async def _admit(self, scope: Any, protocol: Any) -> None:
        caller = self._let_in(scope, self._door) if self._door else EVERYBODY
        prediction = PREDICTION.fullmatch(scope.path) if scope.method == "POST" else None
        model = prediction[1] or prediction[2] if prediction else ""
        if model and self._admission.is_full(model, behind=self._pace.is_behind()):  # under overload, most of the work
            raise crowded(model, 1.0, unread=True)
        headers = dict(scope.headers.items())
        check_headers(headers)
        if not model:
            whole = b"" if caller is NOBODY else await self._read(headers, protocol)
            environ = environ_of(scope, headers) | body_of(whole)
            await self._answer(environ, protocol, in_thread=not ON_THE_LOOP.fullmatch(scope.path))
            return
        asked_s, streamed = self._asked_s(headers), is_streamed(headers)
        bulk = streamed or headers.get(CLASS_HEADER) == "bulk"
        self._check_room(model, asked_s, bulk=bulk, unread=True)
        body = None if streamed else await self._read(headers, protocol)
        self._check_room(model, asked_s, bulk=bulk)
        self._admission.enter(model)
        try:
            await self._predict(scope, headers, protocol, body, caller)
        finally:
            self._admission.leave(model)

    def _let_in(self, scope: Any, door: Door) -> Caller:
        """Who calls; raises ``Refused`` before anything is read of who has no good key."""
        shown, address = scope.headers.get_all("authorization"), scope.client.rpartition(":")[0]
        try:
            return door.enter(scope.method, scope.path, shown, address)
        except ModelyardError as error:
            status, text, headers = errors.told(error)
            raise Refused(status, text, unread=True, **dict(headers)) from None

    def _check_room(self, model: str, asked_s: float, *, bulk: bool, unread: bool = False) -> None:
        """Raises ``Refused`` if this model has too much to do: asked before the body is read, and once it is there."""
        wait_s = self._admission.wait_s(model, asked_s, bulk=bulk)
        if wait_s is not None:
            raise crowded(model, wait_s, unread=unread)

    async def _predict(self, scope: Any, headers: Headers, protocol: Any, body: bytes | None, caller: Caller) -> None:
        if body is None:
            given = {"wsgi.input": Incoming(protocol, self._loop, self._settings.body_timeout_s)}
        elif quick := await self._quick(scope.path, scope.query_string, headers, body, caller):
            protocol.response_bytes(quick.status, quick.headers, quick.body)
            return
        else:
            given = body_of(body)
        await self._answer(environ_of(scope, headers) | given, protocol, in_thread=False)

    async def _answer(self, environ: dict[str, Any], protocol: Any, *, in_thread: bool) -> None:
        answer = await self._run(lambda: called(self._app, environ), in_thread=in_thread)
        try:
            await self._send(answer, protocol, in_thread=in_thread)
        finally:
            answer.close()

    async def _send(self, answer: Answer, protocol: Any, *, in_thread: bool) -> None:
        """Answers of known length in one piece; what a view generates, piece by piece."""
        if any(name == "content-length" for name, _ in answer.headers):
            protocol.response_bytes(answer.status, answer.headers, b"".join(answer.body))
            return
        transport = protocol.response_stream(answer.status, answer.headers)
        while (piece := await self._run(lambda: next(answer.body, None), in_thread=in_thread)) is not None:
            await transport.send_bytes(piece)

    async def _run(self, function: Callable[[], Any], *, in_thread: bool) -> Any:
        if in_thread:
            return await asyncio.get_running_loop().run_in_executor(self._threads, function)
        return await waiting.run(function)

    async def _read(self, headers: Headers, protocol: Any) -> bytes:
        """The whole body, within size and time; a caller who stalls holds no thread.

        Raises:
            Refused: 413, 408, or 400 where the connection broke off.
        """
        if "content-length" not in headers and "transfer-encoding" not in headers:
            return b""
        announced = headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > self._most_bytes:
            raise Refused(413, f"expected a body of at most {self._most_bytes} bytes, received {announced[:20]}")
        try:
            async with asyncio.timeout(self._settings.body_timeout_s):
                body: bytes = await (protocol() if announced else read_up_to(self._most_bytes, protocol))
        except TimeoutError:
            limit = f"{self._settings.body_timeout_s:g} s"
            raise Refused(408, f"expected the whole body within {limit}", connection="close") from None
        if announced and len(body) != int(announced):
            raise Refused(
                400, f"expected {announced[:20]} bytes as announced, received {len(body)}", connection="close"
            )
        return body

    async def _discard(self, scope: Any, protocol: Any) -> None:
        """Takes in what a refused caller still sends: were the connection closed on it, the answer could be lost."""
        announced = scope.headers.get("content-length") or ""
        if not announced.isdecimal() or not AT_ONCE_BYTES < int(announced) <= self._most_bytes:
            return
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(self._settings.body_timeout_s):
                async for _ in protocol:
                    pass

    def _asked_s(self, headers: Headers) -> float:
        asked = headers.get(TIMEOUT_HEADER.lower(), "")
        return int(asked[:9]) / 1000 if asked.isdecimal() and asked.isascii() else self._settings.predict_timeout_s


class Incoming(io.RawIOBase):
    """A body that is read while it arrives, by a view that runs on the loop."""

    def __init__(self, protocol: Any, loop: waiting.EventLoop, patience_s: float) -> None:
        self._pieces = aiter(protocol)
        self._loop = loop
        self._patience_s = patience_s
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """As ``io.RawIOBase``; raises ``TimeoutError`` when the next piece does not come."""
        if not self._rest:
            self._rest = self._loop.wait_for(self._next())
        count = min(len(buffer), len(self._rest))
        buffer[:count], self._rest = self._rest[:count], self._rest[count:]
        return count

    async def _next(self) -> bytes:
        async with asyncio.timeout(self._patience_s):
            try:
                return bytes(await anext(self._pieces))
            except StopAsyncIteration:
                return b""


def crowded(model: str, wait_s: float, *, unread: bool) -> Refused:
    """This model has too much to do."""
    after = min(MOST_RETRY_AFTER_S, math.ceil(wait_s) + random.randint(*RETRY_AFTER_S) - 1)
    text = f"{model[:64]} has more to do than it can; try again later"
    return Refused(503, text, unread=unread, **{"retry-after": str(after)})


async def read_up_to(most: int, protocol: Any) -> bytes:
    """The body; raises ``Refused`` as soon as it is too large."""
    pieces, size = [], 0
    async for piece in protocol:
        pieces.append(piece)
        size += len(piece)
        if size > most:
            raise Refused(413, f"expected a body of at most {most} bytes, received more", connection="close")
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def check_headers(headers: Headers) -> None:
    """Refuses what could be read in two ways.

    Raises:
        Refused: length and chunks at once (RFC 9112, section 6.1: request smuggling), or too many headers.
    """
    if "transfer-encoding" in headers and "content-length" in headers:
        raise Refused(400, "expected Content-Length or Transfer-Encoding, received both", connection="close")
    if len(headers) > MOST_HEADERS:
        raise Refused(431, f"expected at most {MOST_HEADERS} headers", connection="close")


def is_streamed(headers: Headers) -> bool:
    return headers.get("content-type", "").partition(";")[0].strip().lower() in STREAMED
