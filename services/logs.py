"""Structured logs: one JSON object per line on stderr, event first; readable columns on a terminal.

A gateway writes thousands of lines a second, so structlog is configured with a filtering logger that writes bytes.
The line of each request bypasses structlog, by ``write_soon``, at a fifth of the cost.
"""

import asyncio
import functools
import io
import logging
import sys
import time
from contextvars import ContextVar
from typing import IO, Any, BinaryIO, cast

import orjson

from modelyard.models.imports import hide_module
from modelyard.services.keys import KEY_PREFIX, mask_keys

with hide_module("rich"):  # would draw prettier tracebacks on a terminal, for 0.1 s and 5 MB of every process
    import structlog

get_logger = structlog.get_logger

_MARK = KEY_PREFIX.encode()
REQUEST_IDS: ContextVar[tuple[str, ...]] = ContextVar("request_ids", default=())
"""Ids of the request in progress, which are added to every line; several, where requests share a call."""
TELLERS_OF_URLS = ("httpx", "httpcore", "urllib3")
"""Loggers of clients that write down every URL that they call: that of a webhook is a secret."""
SECRET_WORDS = ("password", "secret", "token", "api_key")


class LogStream(io.RawIOBase):
    """Standard error, whose own errors are nobody's: what cannot be written is dropped, and its lines are counted.

    A log's disk may be full, its reader or its terminal gone; no request and no job fails for that.
    """

    def __init__(self, stream: Any) -> None:
        """``stream`` is a binary file, or what buffers one."""
        self._stream: IO[bytes] = getattr(stream, "raw", stream)  # a buffer would keep what failed, and try it again
        self._at_line_start = True
        self.dropped_lines = 0

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def write(self, data: Any) -> int:
        """Takes all of it, always. A line that was cut off is ended before the next one."""
        left = memoryview(data).cast("B")
        if self._at_line_start or self._try_write(b"\n"):
            while left and (written := self._try_write(left)):
                left = left[written:]
        self.dropped_lines += bytes(left).count(b"\n")
        self._at_line_start = not left
        return len(data)

    def _try_write(self, data: memoryview | bytes) -> int:
        try:
            return self._stream.write(data) or 0
        except (OSError, ValueError):  # ValueError: it was closed
            return 0


def configure(process: str, level: str = "info") -> None:
    """Sends structlog's and the standard library's records to stderr in one form, each marked with ``process``."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        _add_request_ids,
        functools.partial(_add_process, process),
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        _mask_secrets,
    ]
    stream = LogStream(sys.stderr.buffer)
    text = io.TextIOWrapper(io.BufferedWriter(stream), "utf-8", "backslashreplace", write_through=True)
    if stream.isatty():
        structlog.configure(
            processors=[*shared, structlog.dev.ConsoleRenderer(), _shown],
            wrapper_class=structlog.make_filtering_bound_logger(level),
            logger_factory=structlog.PrintLoggerFactory(text),
            cache_logger_on_first_use=True,
        )
        rendered: list[structlog.typing.Processor] = [structlog.dev.ConsoleRenderer(), _shown]
    else:
        structlog.configure(
            processors=[*shared, structlog.processors.format_exc_info, _line],
            wrapper_class=structlog.make_filtering_bound_logger(level),
            logger_factory=structlog.BytesLoggerFactory(cast(BinaryIO, stream)),
            cache_logger_on_first_use=True,
        )
        rendered = [structlog.processors.format_exc_info, _text]
    handler = logging.StreamHandler(text)
    tidy = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[tidy, *rendered]))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in TELLERS_OF_URLS:
        logging.getLogger(name).setLevel(logging.WARNING)
    _soon.process = None if stream.isatty() or root.level > logging.INFO else process
    _soon.stream = stream


def bind_request(*request_ids: str) -> None:
    """Adds request ids to the lines of this context, and of tasks started in it."""
    REQUEST_IDS.set(request_ids)


def write_soon(event: str, **fields: Any) -> None:
    """Writes an info line at the end of this iteration of the event loop, together with the iteration's others.

    Outside of a loop, and where lines are not JSON, it is an ordinary one.

    Args:
        fields: numbers and texts; secrets are not masked by field name.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        loop = None
    if loop is None or _soon.process is None:
        get_logger().info(event, **fields)
    else:
        _soon.add({"event": event, **fields, "process": _soon.process, "level": "info"}, loop)


class _Soon:
    """Lines of this iteration of the event loop."""

    def __init__(self) -> None:
        self.process: str | None = None
        """None until ``configure`` chose JSON lines."""
        self.stream: LogStream
        self._lines: list[bytes] = []
        self._second = 0
        self._stamp = ""

    def add(self, line: dict[str, Any], loop: asyncio.AbstractEventLoop) -> None:
        if not self._lines:
            loop.call_soon(self._write)
        line["timestamp"] = self._now()
        self._lines.append(orjson.dumps(line, default=repr))

    def _now(self) -> str:
        """ISO 8601, as structlog's stamper writes it; the seconds are formatted once a second."""
        second, nanos = divmod(time.time_ns(), 1_000_000_000)
        if second != self._second:
            self._second, self._stamp = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._stamp}.{nanos // 1000:06d}Z"

    def _write(self) -> None:
        lines, self._lines = self._lines, []
        self.stream.write(_clean(b"\n".join([*lines, b""])))


_soon = _Soon()


def _add_process(process: str, _: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    event["process"] = process
    return event


def _add_request_ids(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    request_ids = REQUEST_IDS.get()
    if len(request_ids) == 1:
        event.setdefault("request_id", request_ids[0])
    elif request_ids:
        event["request_ids"] = list(request_ids)
    return event


def _line(_: object, __: str, event: structlog.typing.EventDict) -> bytes:
    return _clean(orjson.dumps({"event": event.pop("event", ""), **event}, default=repr))


def _clean(lines: bytes) -> bytes:
    """Masks API keys in paths, names and texts."""
    return mask_keys(lines.decode()).encode() if _MARK in lines.lower() else lines


def _shown(_: object, __: str, line: Any) -> str:
    return mask_keys(line)


def _text(logger: object, method: str, event: structlog.typing.EventDict) -> str:
    return _line(logger, method, event).decode()


def _mask_secrets(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    for key in event:
        if _is_secret(key):
            event[key] = "***"
    return event


@functools.lru_cache(maxsize=1024)
def _is_secret(key: Any) -> bool:
    return any(word in str(key).lower() for word in SECRET_WORDS)
