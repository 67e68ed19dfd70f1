"""A client's connection, for responses that are longer than memory.

granian queues whatever a view generates, without a limit or a signal (``src/rsgi/io.rs``: an unbounded channel),
so a client that does not read would fill this process's memory. The kernel knows: as long as its own buffer for the
connection is full, nothing more is to be generated. The connection is found among the process's open files.
"""

import asyncio
import os
import select
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

OPEN_FILES = Path("/dev/fd")


class ClientSocket:
    """A second handle on the connection; it must be closed, or the client never sees the end."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._poll = select.poll()
        self._poll.register(connection, select.POLLOUT)
        self._closed = select.poll()
        self._closed.register(connection, select.POLLRDHUP)

    async def wait_until_writable(self, timeout_s: float) -> None:
        """Returns when the kernel takes more, or the connection is gone; raises ``TimeoutError`` if neither happens."""
        if self._poll.poll(0):
            return
        loop, ready = asyncio.get_running_loop(), asyncio.Event()
        loop.add_writer(self._connection, ready.set)
        try:
            async with asyncio.timeout(timeout_s):
                await ready.wait()
        finally:
            loop.remove_writer(self._connection)

    def is_gone(self) -> bool:
        """Whether the other side has closed its end; what it sent before may still be unread."""
        return bool(self._closed.poll(0))

    def close(self, *, abort: bool) -> None:
        """Closes the handle. ``abort`` ends the connection, too: what was sent must not pass for a whole response."""
        if abort:
            with suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()


def find_client_socket(environ: Mapping[str, Any]) -> ClientSocket | None:
    """The connection of a request, by its two addresses; None where there is none, as in a test."""
    remote = (environ.get("REMOTE_ADDR"), int(environ.get("REMOTE_PORT", 0)))
    local_port = int(environ.get("SERVER_PORT", 0))
    for name in os.listdir(OPEN_FILES) if remote[1] else ():  # noqa: PTH208  # a listing must not open what it lists
        with suppress(OSError):
            if read_endpoints(int(name)) == (remote, local_port):
                return ClientSocket(socket.socket(fileno=os.dup(int(name))))
    return None


def read_endpoints(number: int) -> tuple[tuple[str, int], int]:
    """Address of the other side, and port of this one; raises ``OSError`` if the file is no connection."""
    connection = socket.socket(fileno=number)
    try:
        other, own = connection.getpeername(), connection.getsockname()
    finally:
        connection.detach()
    if not isinstance(other, tuple) or not isinstance(own, tuple):
        raise OSError("not an IP connection")
    return other[:2], own[1]
