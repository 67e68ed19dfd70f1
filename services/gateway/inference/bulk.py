"""Any number of inputs in one request: JSON lines in, JSON lines out, in constant memory.

Each line is one instance; its prediction, or its error, is the line of the same number in the response. Lines go to the
model in batches, several of them under way, behind everything interactive. Reading stops while that much is ahead of
the predictions, and predicting while the client does not read, so whoever sends has to read meanwhile.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import structlog
from flask import Response
from flask.globals import request_ctx

from modelyard.models.errors import ModelyardError
from modelyard.services.gateway.auth.principal import current_principal
from modelyard.services.gateway.codecs import labels
from modelyard.services.gateway.codecs.explanations import is_wanted
from modelyard.services.gateway.codecs.request import choose_words
from modelyard.services.gateway.codecs.tensors import check_output_types
from modelyard.services.gateway.codecs.tfs_json import find_signature
from modelyard.services.gateway.http.body import open_stream
from modelyard.services.gateway.http.client_socket import ClientSocket, find_client_socket
from modelyard.services.gateway.http.errors import InvalidRequest
from modelyard.services.gateway.http.greenlets import run_in_greenlet
from modelyard.services.gateway.http.headers import media_type
from modelyard.services.gateway.http.paths import Servable
from modelyard.services.gateway.inference import bulk_batch
from modelyard.services.gateway.inference.bulk_batch import BatchResult, Task, encode_line
from modelyard.services.gateway.inference.bulk_lines import Lines
from modelyard.services.gateway.inference.prediction import Predictions
from modelyard.services.gateway.serving.predictor import Predictor

log = structlog.get_logger()

AHEAD_BYTES = 1024 * 1024
"""Limit of what is read and not yet sent to the model, and of one batch, give or take one line."""
FIRST_CHUNK_S = 1.0
"""How long the head of the response waits for the first lines; a client may want it before sending any."""
READ_BYTES = 16 * 1024
"""Read at once; split into as many lines as it has bytes, this takes 10 ms."""
FLUSH_S = 0.2
"""Time for the last lines of a response that breaks off to reach the client: granian does not say when they have."""
MAX_BATCHES = 4
"""Batches of one body at once: two at the model, two on the way."""


class KeyExpired(ModelyardError):
    """The client's API key was revoked, or has expired, while lines were sent."""

    status = 401


def respond(predictions: Predictions, servable: Servable) -> Response:
    """The response, whose lines are predicted while it is sent.

    Raises:
        InvalidRequest: unknown signature, or labels where there are none; or the body broke off before its first line.
        UnsupportedType: unknown encoding.
    """
    request = request_ctx.request
    headers, interface, deadline = predictions.wait_for_interface(servable)
    named = {"signature_name": request.args["signature_name"]} if "signature_name" in request.args else {}
    words, signature = choose_words(request.args), find_signature(named, interface)
    if words == "true":
        labels.require_labels(interface, signature)
    if interface.is_explanation(signature) or is_wanted(request.args):
        raise InvalidRequest("explain: not line by line, as it costs too much; send up to 8 inputs in one body")
    check_output_types(interface.signatures[signature])
    if not interface.signatures[signature].inputs:
        raise InvalidRequest(f"{signature} has no inputs, so it cannot predict line by line")
    predictor = predictions.predictor
    task = Task(interface.pin(), signature, words, deadline.total_s, predictions)
    body = open_stream(request.stream, headers.get("content-encoding"))
    read = read_while_key_is_valid(body.read, current_principal().is_valid)
    # In a thread: it looks through all open connections.
    client = predictor.wait_for(asyncio.to_thread(find_client_socket, request.environ))
    stream = BulkStream(task, read, client)
    try:
        predictor.wait_for(stream.start())
    except ModelyardError:
        stream.close(whole=True)
        raise
    return Response(generate_chunks(stream, predictor), mimetype=media_type(headers))


def read_while_key_is_valid(read: Callable[[int], bytes], is_valid: Callable[[], bool]) -> Callable[[int], bytes]:
    """Reads as long as the client's key is good; raises ``KeyExpired``."""

    def read_chunk(size: int) -> bytes:
        if not is_valid():
            raise KeyExpired("the API key has expired or was revoked; the lines before it have their responses")
        return read(size)

    return read_chunk


def generate_chunks(stream: "BulkStream", predictor: Predictor) -> Iterator[bytes]:
    """The body of the response; closing it ends the work."""
    whole = False
    try:
        while (chunk := predictor.wait_for(stream.next())) is not None:
            yield chunk
        whole = not stream.is_broken
    except TimeoutError:
        log.warning("client stopped reading")
    except Exception:
        log.exception("bulk body broke off")
        raise
    finally:
        stream.close(whole=whole)


@dataclass
class Progress:
    """What was done, for the log."""

    lines: int = 0
    failed: int = 0


class BulkStream:
    """From lines to predictions. Runs on the event loop, but for reading: a plain function that waits there."""

    def __init__(self, task: Task, read: Callable[[int], bytes], client: ClientSocket | None) -> None:
        self._task = task
        self._read = read
        self._client = client
        self._log = log.bind(model=task.interface.model, version=task.interface.version)
        self._lines = Lines(task.limits.max_json_bytes)
        self._reading: asyncio.Task[bytes] | None = None
        self._batches: deque[asyncio.Task[BatchResult]] = deque()
        self._ended = False
        """Whether the body has ended."""
        self._error: ModelyardError | None = None
        """Why it ended before its end."""
        self.is_broken = False
        """Whether the body ended before its end: the response must not pass for a whole one either."""
        self._progress = Progress()
        self._started = time.monotonic()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> None:
        """Starts to read: a client that waits for ``100 Continue`` gets it now, never after a response has begun.

        Raises:
            ModelyardError: the body ended with an error before its first line: it is the response.
        """
        self._loop = asyncio.get_running_loop()
        self._read_ahead()
        await asyncio.wait(filter(None, [self._reading]), timeout=FIRST_CHUNK_S)
        self._take_chunk()
        if self._error and not self._lines:
            raise self._error

    async def next(self) -> bytes | None:
        """The predictions of the next batch; None after the last one.

        Raises:
            TimeoutError: the client does not read.
        """
        if self._client:
            await self._client.wait_until_writable(self._task.limits.body_timeout_s)
        while True:
            self._send_batches()
            if self._batches and self._batches[0].done():
                return self._finish_batch(self._batches.popleft().result())
            if self._ended and not self._batches:
                return await self._last_error()
            self._read_ahead()
            await asyncio.wait(
                [*list(self._batches)[:1], *filter(None, [self._reading])], return_when="FIRST_COMPLETED"
            )
            self._take_chunk()

    def close(self, *, whole: bool) -> None:
        """Cancels what is under way. May be called anywhere, also outside the loop."""
        tasks = [*self._batches, *filter(None, [self._reading])]
        if self._loop and tasks:
            self._loop.call_soon_threadsafe(lambda: [task.cancel() for task in tasks])
        if self._client:
            self._client.close(abort=not whole)
        self._log.info("bulk", **vars(self._progress), whole=whole, s=round(time.monotonic() - self._started, 2))

    def _send_batches(self) -> None:
        """Sends full batches while fewer than ``MAX_BATCHES`` are under way, and a part of one when none is."""
        max_lines = self._task.max_batch
        while self._lines and len(self._batches) < MAX_BATCHES:
            full = len(self._lines) >= max_lines or self._lines.held_bytes >= AHEAD_BYTES or self._ended
            if not full and self._batches:
                return
            batch = self._lines.take(max_lines, AHEAD_BYTES)
            self._batches.append(asyncio.create_task(bulk_batch.predict_lines(self._task, batch)))

    def _read_ahead(self) -> None:
        full = len(self._lines) >= MAX_BATCHES * self._task.max_batch or self._lines.held_bytes >= AHEAD_BYTES
        if self._reading is None and not self._ended and not full:
            self._reading = asyncio.create_task(run_in_greenlet(lambda: self._read(READ_BYTES)))

    def _take_chunk(self) -> None:
        """Splits the chunk that was read into lines."""
        if self._reading is None or not self._reading.done():
            return
        reading, self._reading = self._reading, None
        try:
            chunk = reading.result()
        except TimeoutError:
            limit = f"{self._task.limits.body_timeout_s:g} s"
            self._error, chunk = InvalidRequest(f"expected the next chunk of the body within {limit}"), b""
        except ModelyardError as error:
            self._error, chunk = error, b""
        self._ended = not chunk
        if self._error is None:  # half a line is not one
            self._lines.feed(chunk)

    def _finish_batch(self, result: BatchResult) -> bytes:
        self._progress.lines += result.lines
        self._progress.failed += result.failed
        return result.content

    async def _last_error(self) -> bytes | None:
        """The error that ended the body, once; it reaches the client before the connection is closed."""
        error, self._error = self._error, None
        if error is None:
            if self.is_broken and self._client:
                await asyncio.sleep(FLUSH_S)
            return None
        self.is_broken = True
        self._progress.failed += 1
        return encode_line({"error": str(error), "line": self._lines.next_number})
