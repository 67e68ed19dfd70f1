"""A second process for what would hold the event loop: reading and writing large bodies.

JSON parsers, regular expressions and numpy's conversions keep Python's lock while they work, so a thread would hold the
loop as well (decision 0028). The process is started by the first large body and ends with the gateway, as its standard
input does.
"""

import asyncio
import os
import pickle
import signal
import struct
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from contextlib import suppress
from typing import Any, BinaryIO, TypeVar

import structlog

from modelyard.models.errors import ModelyardError

log = structlog.get_logger()

Result = TypeVar("Result")

INLINE_BYTES = 16 * 1024
"""Bodies up to this size are read on the loop: the dearest of them takes 10 ms, and most a tenth of one."""
LENGTH = struct.Struct(">Q")
COMMAND = (sys.executable, "-P", "-c", "from modelyard.services.gateway.http.side_process import serve; serve()")
PREFIX = "MODELYARD_"
NICENESS = 5
"""The event loop goes first."""


class SideProcessEnded(ModelyardError):
    """The process that reads large bodies ended, as when it is out of memory; the next one starts another."""

    status = 503


class SideProcess:
    """One call at a time; the others wait in line. Runs on the event loop."""

    def __init__(self) -> None:
        self._process: Process | None = None
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """What a function of a module returns; raises what it raises.

        One whose caller has gone before its turn is not run.

        Raises:
            SideProcessEnded: the process ended meanwhile.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        task = loop.create_task(self._run_in_turn(future, function, arguments))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await future

    async def close(self) -> None:
        """Ends the process, and waits for that."""
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.communicate()

    async def _run_in_turn(
        self, future: "asyncio.Future[Any]", function: Callable[..., Any], arguments: tuple[Any, ...]
    ) -> None:
        async with self._lock:
            if future.done():
                return
            try:
                is_error, outcome = await self._exchange(pickle.dumps((function, arguments), pickle.HIGHEST_PROTOCOL))
            except (OSError, EOFError) as error:
                await self.close()
                log.warning("side process ended", cause=repr(error))
                is_error, outcome = True, SideProcessEnded("the request could not be read; try again later")
            except Exception as error:  # noqa: BLE001  # whoever waits gets the error
                is_error, outcome = True, error
            if not future.done():
                (future.set_exception if is_error else future.set_result)(outcome)

    async def _exchange(self, call: bytes) -> tuple[bool, Any]:
        """Whether the function raised, and what it raised or returned."""
        if self._process is None:
            environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
            self._process = await asyncio.create_subprocess_exec(*COMMAND, stdin=PIPE, stdout=PIPE, env=environment)
        sent, received = self._process.stdin, self._process.stdout
        assert sent
        assert received
        sent.write(LENGTH.pack(len(call)))
        sent.write(call)
        await sent.drain()
        (length,) = LENGTH.unpack(await received.readexactly(LENGTH.size))
        outcome: tuple[bool, Any] = pickle.loads(await received.readexactly(length))  # noqa: S301  # our own process
        return outcome


def serve() -> None:
    """Runs what comes on standard input until that ends; signals are for the gateway."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    os.nice(NICENESS)
    received, sent = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing that is printed may come between
    while head := received.read(LENGTH.size):
        sent.write(answer(received, *LENGTH.unpack(head)))
        sent.flush()


def answer(received: BinaryIO, length: int) -> bytes:
    """The outcome of one call, as it is sent back."""
    function, arguments = pickle.loads(received.read(length))  # noqa: S301  # the gateway's own
    outcome: tuple[bool, Any]
    try:
        outcome = (False, function(*arguments))
    except ModelyardError as error:
        outcome = (True, error)
    except Exception as error:  # the outermost boundary of this process
        log.exception("side process failed")
        outcome = (True, RuntimeError(repr(error)))
    content = pickle.dumps(outcome, pickle.HIGHEST_PROTOCOL)
    return LENGTH.pack(len(content)) + content
