"""Client of the fork server: starts processes that have Keras imported already, which takes seconds of CPU time.

Why not ``multiprocessing``'s: docs/decisions/0020-fork-server.md.
"""

import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import IO, Self

import orjson

from modelyard.pipeline.processes.forkserver_process import (
    CHANNEL,
    MAX_MESSAGE,
    PRELOADED,
    close_descriptors,
    serve,
    server_command,
)

SETTINGS = {"CUDA_VISIBLE_DEVICES": "", "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "2"}
IDLE_S = 600.0


class ForkedProcess:
    """One fork, with as much of ``subprocess.Popen`` as its users need. Its standard streams are pipes."""

    def __init__(self, status: socket.socket, stdin: int, stdout: int, stderr: int) -> None:
        self.stdin: IO[bytes] = os.fdopen(stdin, "wb")
        self.stdout: IO[bytes] = os.fdopen(stdout, "rb")
        self.stderr: IO[bytes] = os.fdopen(stderr, "rb")
        self.returncode: int | None = None
        self._pid: int | None = None
        self._status = status
        self._receiving = threading.Lock()

    @property
    def pid(self) -> int | None:
        """The process id; waits until it is known. None if the server has ended: there is no such process."""
        while self._pid is None and self.returncode is None:
            self._receive(None)
        return self._pid

    def wait(self, timeout: float | None = None) -> int:
        """As ``Popen.wait``. If the server has ended, the exit status is unknown: that of SIGKILL is returned."""
        ends_at = None if timeout is None else time.monotonic() + timeout
        while self.returncode is None:
            left = None if ends_at is None else ends_at - time.monotonic()
            if timeout is not None and left is not None and left <= 0:
                raise subprocess.TimeoutExpired("a forked process", timeout)
            self._receive(left)
        return self.returncode

    def kill(self) -> None:
        """SIGKILL, unless it has ended."""
        if self.pid and self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the streams and waits until the process has ended."""
        for stream in (self.stdin, self.stdout, self.stderr):
            with suppress(OSError):  # the other end is closed
                stream.close()
        with self._status:
            self.wait()

    def _receive(self, timeout: float | None) -> None:
        """Receives the next message, if one comes in time. Several threads may wait together."""
        poll = select.poll()
        poll.register(self._status, select.POLLIN)
        poll.poll(None if timeout is None else timeout * 1000)
        with self._receiving, suppress(BlockingIOError):
            message = self._status.recv(MAX_MESSAGE, socket.MSG_DONTWAIT)
            if not message:
                self.returncode = -signal.SIGKILL if self.returncode is None else self.returncode
            elif self._pid is None:
                self._pid = int(message)
            else:
                self.returncode = int(message)


class ForkServer:
    """A client of the fork server. A context manager, for many threads, and for processes that inherit it."""

    def __init__(
        self,
        *,
        fork: bool = False,
        idle_s: float = IDLE_S,
        preloaded: Sequence[str] = PRELOADED,
        channel: socket.socket | None = None,
    ) -> None:
        """Starts the server. It imports Keras at the first request, unless it is a fork of this process.

        Args:
            fork: make the server a fork of this process, which has imported Keras on TensorFlow and computed nothing.
            idle_s: seconds without a request after which the server frees its memory, until the next request.
            preloaded: modules that it imports at the first request, in this order.
            channel: that of a server which another process has started, and will end: none is started here.
        """
        if channel:
            self.channel, self._stop_server = channel, stop_nothing
            return
        self.channel, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        """Requests are sent on it: by this process, and by each that it is handed to."""
        with theirs:
            self._stop_server = (
                fork_server(theirs, self.channel, idle_s, preloaded)
                if fork
                else spawn_server(theirs, idle_s, preloaded)
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the server. Its forks live on; whoever started them ends them."""
        self.channel.close()
        self._stop_server()

    def start(self, module: str, *arguments: str, own_group: bool = False) -> ForkedProcess:
        """Runs ``python -m module arguments`` in a fork. The module has a function ``main`` that takes these strings.

        Args:
            own_group: the process leads a process group of its own.

        Raises:
            OSError: the server has ended.
        """
        (stdin, write), (read, stdout), (read_errors, stderr) = os.pipe(), os.pipe(), os.pipe()
        status, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        process = ForkedProcess(status, write, read, read_errors)
        request = orjson.dumps([module, arguments, own_group])
        try:
            socket.send_fds(self.channel, [request], [stdin, stdout, stderr, theirs.fileno()])
        except OSError:
            with process:  # counts as ended: its exit status will never come
                theirs.close()
            raise
        finally:
            theirs.close()
            close_descriptors(stdin, stdout, stderr)
        return process


def stop_nothing() -> None:
    """The server of another process ends with that."""


def spawn_server(channel: socket.socket, idle_s: float, preloaded: Sequence[str]) -> Callable[[], None]:
    """Starts the server as a new process; returns the function that ends it."""
    command = server_command(idle_s, preloaded)
    process = subprocess.Popen(command, stdin=channel.fileno(), stdout=subprocess.DEVNULL, env=os.environ | SETTINGS)

    def stop() -> None:
        process.kill()
        process.wait()

    return stop


def fork_server(
    channel: socket.socket, clients: socket.socket, idle_s: float, preloaded: Sequence[str]
) -> Callable[[], None]:
    """Starts the server as a fork of this process; returns the function that ends it."""
    if pid := os.fork():

        def stop() -> None:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

        return stop
    os.dup2(channel.fileno(), CHANNEL)
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    channel.close()
    clients.close()
    os.environ.update(SETTINGS)
    try:
        serve(idle_s, preloaded)
    finally:
        os._exit(0)
