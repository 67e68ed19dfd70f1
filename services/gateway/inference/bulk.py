"""Any number of inputs in one request: JSON lines in, JSON lines out, in constant memory.

Each line is one instance; its answer, or its error, is the line of the same number in the answer. Lines go to the model
in batches, several of them under way, behind everything interactive. Reading stops while that much is ahead of the
answers, and answering while the caller does not read, so whoever sends has to read meanwhile.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import structlog
from flask import Request, Response

from modelyard.models.errors import ModelyardError
from modelyard.services.gateway.codecs import labels
from modelyard.services.gateway.codecs import request as payload
from modelyard.services.gateway.codecs.tfs_json import find_signature
from modelyard.services.gateway.http import client_socket as peer
from modelyard.services.gateway.http import deadline
from modelyard.services.gateway.http import greenlets as waiting
from modelyard.services.gateway.http.client_socket import Peer
from modelyard.services.gateway.http.errors import InvalidRequest
from modelyard.services.gateway.inference import bulk_batch as line_batch
from modelyard.services.gateway.inference import bulk_lines as lines
from modelyard.services.gateway.inference.bulk_batch import Answered, Task, dumped
from modelyard.services.gateway.serving.interface import Interface
from modelyard.services.gateway.serving.predictor import Serving
from modelyard.services.gateway.settings import GatewaySettings

log = structlog.get_logger()

PIECE_BYTES = 64 * 1024
AHEAD_BYTES = 1024 * 1024
"""Most that is read and not yet sent to the model, and most in one batch, give or take one line."""
FIRST_PIECE_S = 1.0
"""How long the head of the answer waits for the first lines; a caller may want it before sending any."""
UNDER_WAY = 4
"""Batches of one body at once: two at the model, two on the way."""


class NoLongerWelcome(ModelyardError):
    """The caller's key was revoked, or has expired, while they were sending."""

    status = 401


def answer(
    request: Request,
    interface: Interface,
    limits: GatewaySettings,
    serving: Serving,
    request_id: str,
    is_welcome: Callable[[], bool],
) -> Response:
    """The answer, whose lines are worked out while it is sent.

    Args:
        is_welcome: whether the caller still is: no line is read any more when its key has ended.

    Raises:
        InvalidRequest: unknown signature, or labels where there are none. UnsupportedType: unknown encoding.
    """
    asked = {"signature_name": request.args["signature_name"]} if "signature_name" in request.args else {}
    named, signature = payload.wants_labels(request), find_signature(asked, interface)
    if named:
        labels.require(interface, signature)
    timeout_s = deadline.asked(request.headers.get(deadline.HEADER), limits.predict_timeout_s).total_s
    task = Task(interface, signature, named, timeout_s, limits, serving)
    read = while_welcome(lines.reader(request.stream, request.content_encoding), is_welcome)
    pump = Pump(task, read, peer.find(request.environ), request_id)
    serving.wait_for(pump.begin())
    return Response(pieces(pump, serving), mimetype=request.mimetype)


def while_welcome(read: Callable[[int], bytes], is_welcome: Callable[[], bool]) -> Callable[[int], bytes]:
    """Reads on for who is; raises ``NoLongerWelcome``."""

    def piece(size: int) -> bytes:
        if not is_welcome():
            raise NoLongerWelcome("the API key has ended; what came before is answered")
        return read(size)

    return piece


def pieces(pump: "Pump", serving: Serving) -> Iterator[bytes]:
    """The body of the answer; closing it ends the work."""
    whole = False
    try:
        while (piece := serving.wait_for(pump.next())) is not None:
            yield piece
        whole = True
    except TimeoutError:
        log.warning("caller stopped reading")
    except Exception:
        log.exception("bulk body broke off")
        raise
    finally:
        pump.close(whole=whole)


@dataclass
class Progress:
    """What was done, for the log."""

    lines: int = 0
    failed: int = 0


class Pump:
    """From lines to answers. Runs on the event loop, but for reading, which is a plain function that waits there."""

    def __init__(self, task: Task, read: Callable[[int], bytes], caller: Peer | None, request_id: str) -> None:
        self._task = task
        self._read = read
        self._caller = caller
        self._log = log.bind(request_id=request_id, model=task.interface.model, version=task.interface.version)
        self._arrived = lines.Lines(task.limits.max_json_bytes)
        self._reading: asyncio.Task[bytes] | None = None
        self._under_way: deque[asyncio.Task[Answered]] = deque()
        self._over = False
        """Whether the body has ended."""
        self._broken: ModelyardError | None = None
        """Why it ended before its end."""
        self._progress = Progress()
        self._started = time.monotonic()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def begin(self) -> None:
        """Starts to read: a caller who waits for ``100 Continue`` gets it now, but never after an answer has begun."""
        self._loop = asyncio.get_running_loop()
        self._read_on()
        await asyncio.wait(filter(None, [self._reading]), timeout=FIRST_PIECE_S)

    async def next(self) -> bytes | None:
        """The answers to the next batch; None after the last one.

        Raises:
            TimeoutError: the caller does not read.
        """
        if self._caller:
            await self._caller.writable(self._task.limits.body_timeout_s)
        while True:
            self._send()
            if self._under_way and self._under_way[0].done():
                return self._landed(self._under_way.popleft().result())
            if self._over and not self._under_way:
                return self._last_words()
            self._read_on()
            await asyncio.wait(
                [*list(self._under_way)[:1], *filter(None, [self._reading])], return_when="FIRST_COMPLETED"
            )
            self._take_in()

    def close(self, *, whole: bool) -> None:
        """Gives up what is under way. May be called anywhere, also outside the loop."""
        tasks = [*self._under_way, *filter(None, [self._reading])]
        if self._loop and tasks:
            self._loop.call_soon_threadsafe(lambda: [task.cancel() for task in tasks])
        if self._caller:
            self._caller.close(abort=not whole)
        self._log.info("bulk", **vars(self._progress), whole=whole, s=round(time.monotonic() - self._started, 2))

    def _send(self) -> None:
        """Full batches as long as few are under way; what there is, when none is."""
        most = self._task.max_batch
        while self._arrived and len(self._under_way) < UNDER_WAY:
            full = len(self._arrived) >= most or self._arrived.held_bytes >= AHEAD_BYTES or self._over
            if not full and self._under_way:
                return
            batch = self._arrived.take(most, AHEAD_BYTES)
            self._under_way.append(asyncio.create_task(line_batch.answer(self._task, batch)))

    def _read_on(self) -> None:
        ahead = len(self._arrived) >= UNDER_WAY * self._task.max_batch or self._arrived.held_bytes >= AHEAD_BYTES
        if self._reading is None and not self._over and not ahead:
            self._reading = asyncio.create_task(waiting.run(lambda: self._read(PIECE_BYTES)))

    def _take_in(self) -> None:
        """What was read."""
        if self._reading is None or not self._reading.done():
            return
        reading, self._reading = self._reading, None
        try:
            piece = reading.result()
        except TimeoutError:
            limit = f"{self._task.limits.body_timeout_s:g} s"
            self._broken, piece = InvalidRequest(f"expected the next piece of the body within {limit}"), b""
        except ModelyardError as error:
            self._broken, piece = error, b""
        self._over = not piece
        if self._broken is None:  # half a line is not one
            self._arrived.feed(piece)

    def _landed(self, answered: Answered) -> bytes:
        self._progress.lines += answered.lines
        self._progress.failed += answered.failed
        return answered.content

    def _last_words(self) -> bytes | None:
        """The error that ended the body, once."""
        broken, self._broken = self._broken, None
        if broken is None:
            return None
        self._progress.failed += 1
        return dumped({"error": str(broken), "line": self._arrived.next_number})
