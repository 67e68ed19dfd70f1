"""A process that has Keras imported and is forked for each piece of work: to import it takes seconds of CPU time.

It sees no GPU, computes nothing and starts no thread: TensorFlow makes devices and threads with its first operation,
which is in the fork. Why not ``multiprocessing``'s: docs/decisions/0020-fork-server.md.
"""

import gc
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import IO, NoReturn, Self

import numpy as np
import orjson

from modelyard.models.backend import use_backend

SETTINGS = {"CUDA_VISIBLE_DEVICES": "", "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "2"}
IDLE_S = 600.0
PRELOADED = ("modelyard.pipeline.run", "sklearn.metrics")
MODULE = "modelyard.pipeline.forkserver"
CHANNEL = 0
"""Requests come on the server's standard input."""
MAX_MESSAGE, MAX_DESCRIPTORS = 65536, 4


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
        """Waits until it is known; None if there is no such process: its server has ended."""
        while self._pid is None and self.returncode is None:
            self._receive(None)
        return self._pid

    def wait(self, timeout: float | None = None) -> int:
        """As ``Popen.wait``; of a process whose server has ended, nobody knows how it ended: as by SIGKILL."""
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
        """Closes the streams and waits for its end."""
        for stream in (self.stdin, self.stdout, self.stderr):
            with suppress(OSError):  # of what nobody reads any more
                stream.close()
        with self._status:
            self.wait()

    def _receive(self, timeout: float | None) -> None:
        """Takes the next message if there is one in time. Threads may wait for it together."""
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
    """The way to such a process. A context. May be used from many threads, and from processes that inherit it."""

    def __init__(self, *, fork: bool = False, idle_s: float = IDLE_S) -> None:
        """Starts it; unless forked, it imports Keras when it is first asked for a process.

        Args:
            fork: this process has imported Keras on TensorFlow and has computed nothing yet: a fork of it is as good.
            idle_s: afterwards it gives its memory back, until it is asked again.
        """
        self._channel, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        with theirs:
            self._end = fork_server(theirs, self._channel, idle_s) if fork else spawn_server(theirs, idle_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Its forks live on, and are to be ended by whoever started them."""
        self._channel.close()
        self._end()

    def start(self, module: str, *arguments: str, own_group: bool = False) -> ForkedProcess:
        """``python -m module arguments``, where the module has a function ``main`` that takes these strings.

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
            socket.send_fds(self._channel, [request], [stdin, stdout, stderr, theirs.fileno()])
        except OSError:
            with process:  # which has ended, as nobody will ever say how it does
                theirs.close()
            raise
        finally:
            theirs.close()
            close_all(stdin, stdout, stderr)
        return process


def spawn_server(channel: socket.socket, idle_s: float) -> Callable[[], None]:
    process = subprocess.Popen(
        command(idle_s), stdin=channel.fileno(), stdout=subprocess.DEVNULL, env=os.environ | SETTINGS
    )

    def end() -> None:
        process.kill()
        process.wait()

    return end


def fork_server(channel: socket.socket, clients: socket.socket, idle_s: float) -> Callable[[], None]:
    if pid := os.fork():

        def end() -> None:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

        return end
    os.dup2(channel.fileno(), CHANNEL)
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    channel.close()
    clients.close()
    os.environ.update(SETTINGS)
    try:
        serve(idle_s)
    finally:
        os._exit(0)


# --- inside the server ------------------------------------------------------------------------------------------------


def command(idle_s: float) -> list[str]:
    return [sys.executable, "-m", MODULE, str(idle_s)]


def serve(idle_s: float) -> None:
    """Forks for each request that comes on standard input, until its other end is closed."""
    set_title("forkserver")
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    channel = socket.socket(fileno=CHANNEL)
    forks = Forks()
    while True:
        idle = "keras" in sys.modules and not forks.running
        ready, _, _ = select.select([CHANNEL, forks.ended], [], [], idle_s if idle else None)
        if not ready:
            os.execv(sys.executable, command(idle_s))  # noqa: S606  # ourselves, without Keras
        forks.report_ended()
        if CHANNEL in ready:
            request, descriptors, _, _ = socket.recv_fds(channel, MAX_MESSAGE, MAX_DESCRIPTORS)
            if not request:
                return
            module, arguments, own_group = orjson.loads(request)
            load(module)
            *streams, status = descriptors
            if forks.fork(status, own_group=own_group):
                close_all(*streams)
            else:
                become(module, arguments, streams)


class Forks:
    """Those that run, and where their end is to be reported."""

    def __init__(self) -> None:
        self.running: dict[int, int] = {}
        self.ended, self._wake = os.pipe()
        """Readable when one has ended."""
        os.set_blocking(self.ended, False)
        os.set_blocking(self._wake, False)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def fork(self, status: int, *, own_group: bool) -> int:
        """``os.fork``; the fork is a process with nothing of the server's."""
        if pid := os.fork():
            if own_group:
                with suppress(OSError):  # whoever is first; it may even have ended
                    os.setpgid(pid, pid)
            self.running[pid] = status
            send(status, pid)
            return pid
        if own_group:
            os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        close_all(self.ended, self._wake, status, *self.running.values())
        return pid

    def report_ended(self) -> None:
        with suppress(BlockingIOError):
            os.read(self.ended, MAX_MESSAGE)
        for pid in list(self.running):
            found, how = os.waitpid(pid, os.WNOHANG)
            if found:
                status = self.running.pop(pid)
                send(status, os.waitstatus_to_exitcode(how))
                os.close(status)


def send(status: int, number: int) -> None:
    with suppress(OSError):  # nobody wants to know any more
        os.write(status, str(number).encode())


def load(module: str) -> None:
    """Imports what the fork would import; what cannot be imported fails there, where somebody reads the reason."""
    with suppress(Exception):
        use_backend("tensorflow")
        for name in (*PRELOADED, module):
            import_module(name)
    gc.collect()
    gc.freeze()  # a collection in a fork would copy every page that it visits


def become(module: str, arguments: list[str], streams: list[int]) -> NoReturn:
    """Makes this fork what ``python -m module arguments`` is, until it ends."""
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
    close_all(*streams)
    sys.argv = [module, *arguments]
    set_title(module.rpartition(".")[2])
    np.random.seed()  # the legacy generator would be the same in every fork
    status = 1
    try:
        import_module(module).main(*arguments)
        status = 0
    except SystemExit as exit_:
        status = exit_status(exit_)
    except BaseException:  # noqa: BLE001  # as an interpreter does
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def set_title(title: str) -> None:
    """Names this process in lists of processes."""
    with suppress(OSError):  # where there is no such thing
        Path("/proc/self/comm").write_text(title)


def exit_status(exit_: SystemExit) -> int:
    """As an interpreter does: anything but a number is a message."""
    if exit_.code is None or isinstance(exit_.code, int):
        return exit_.code or 0
    print(exit_.code, file=sys.stderr)
    return 1


def close_all(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


if __name__ == "__main__":
    serve(float(sys.argv[1]))
