"""The fork server's own process: it has Keras imported, unless told otherwise, and forks for each request.

It sees no GPU, computes nothing and starts no thread: TensorFlow makes devices and threads with its first operation,
which is in the fork.
"""

import gc
import os
import select
import shutil
import signal
import socket
import sys
import tempfile
import traceback
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
import orjson

from modelyard.models.imports import pause_gc

PRELOADED = (
    "modelyard.pipeline.processes.tensorflow_backend",
    "modelyard.pipeline.run",
    "modelyard.pipeline.exporting.saved_model",
    "modelyard.pipeline.exporting.operations",
    "modelyard.models.batches",
    "modelyard.models.defaults.tables",
    "modelyard.models.defaults.row_encoder",
    "modelyard.models.defaults.images",
    "tensorflow.saved_model.experimental",
    "tensorflow.core.protobuf.saved_model_pb2",
    "h5py",
    "scipy.optimize",
    "sklearn.metrics",
)
"""What stages import, each of them otherwise."""
MODULE = "modelyard.pipeline.processes.forkserver_process"
SCRATCH_PREFIX = "modelyard-stage-"
CHANNEL = 0
"""Requests come on the server's standard input."""
MAX_MESSAGE, MAX_DESCRIPTORS = 65536, 4


def server_command(idle_s: float, preloaded: Sequence[str]) -> list[str]:
    return [sys.executable, "-P", "-m", MODULE, str(idle_s), *preloaded]


def serve(idle_s: float, preloaded: Sequence[str]) -> None:
    """Forks for each request that comes on standard input, until its other end is closed."""
    set_process_title("forkserver")
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    channel = socket.socket(fileno=CHANNEL)
    forks = RunningForks()
    loaded = "keras" in sys.modules
    while True:
        idle = loaded and not forks.running
        ready, _, _ = select.select([CHANNEL, forks.ended], [], [], idle_s if idle else None)
        if not ready:
            os.execv(sys.executable, server_command(idle_s, preloaded))  # noqa: S606  # ourselves, without what is preloaded
        forks.report_exits()
        if CHANNEL in ready:
            request, descriptors, _, _ = socket.recv_fds(channel, MAX_MESSAGE, MAX_DESCRIPTORS)
            if not request:
                return
            module, arguments, own_group = orjson.loads(request)
            preload([*preloaded, module])
            loaded = True
            *streams, status = descriptors
            if forks.fork(status, own_group=own_group):
                close_descriptors(*streams)
            else:
                run_module(module, arguments, streams)


class Fork(NamedTuple):
    """A fork that runs."""

    status: int
    """The socket that its exit status is sent to."""
    scratch: str
    """The folder of its temporary files: what TensorFlow and others leave there goes with it, however it ends."""


class RunningForks:
    """The forks that run, by process id."""

    def __init__(self) -> None:
        self.running: dict[int, Fork] = {}
        self.ended, self._wake = os.pipe()
        """Readable when a fork has ended."""
        os.set_blocking(self.ended, False)
        os.set_blocking(self._wake, False)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def fork(self, status: int, *, own_group: bool) -> int:
        """``os.fork``; the fork holds none of the server's descriptors and signal handlers."""
        scratch = tempfile.mkdtemp(prefix=SCRATCH_PREFIX)
        if pid := os.fork():
            if own_group:
                with suppress(OSError):  # the fork does so, too; it may even have ended
                    os.setpgid(pid, pid)
            self.running[pid] = Fork(status, scratch)
            send_number(status, pid)
            return pid
        if own_group:
            os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        close_descriptors(self.ended, self._wake, status, *(fork.status for fork in self.running.values()))
        os.environ["TMPDIR"] = tempfile.tempdir = scratch
        return pid

    def report_exits(self) -> None:
        with suppress(BlockingIOError):
            os.read(self.ended, MAX_MESSAGE)
        for pid in list(self.running):
            found, how = os.waitpid(pid, os.WNOHANG)
            if found:
                fork = self.running.pop(pid)
                shutil.rmtree(fork.scratch, ignore_errors=True)
                send_number(fork.status, os.waitstatus_to_exitcode(how))
                os.close(fork.status)


def send_number(status: int, number: int) -> None:
    with suppress(OSError):  # the client has closed its end
        os.write(status, str(number).encode())


def preload(modules: Sequence[str]) -> None:
    """Imports what the fork would import. An import error is left to the fork, whose standard error is read."""
    with suppress(Exception), pause_gc():
        for name in modules:
            import_module(name)
    gc.collect()
    gc.freeze()  # a collection in a fork would copy every page that it visits


def run_module(module: str, arguments: list[str], streams: list[int]) -> NoReturn:
    """Runs ``python -m module arguments`` in this fork, and ends it."""
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
    close_descriptors(*streams)
    sys.argv = [module, *arguments]
    set_process_title(module.rpartition(".")[2])
    np.random.seed()  # the legacy generator would be the same in every fork
    status = 1
    try:
        import_module(module).main(*arguments)
        status = 0
    except SystemExit as exit_:
        status = read_exit_status(exit_)
    except BaseException:  # noqa: BLE001  # as an interpreter does
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def set_process_title(title: str) -> None:
    """Names this process in lists of processes."""
    with suppress(OSError):  # there is no /proc
        Path("/proc/self/comm").write_text(title)


def read_exit_status(exit_: SystemExit) -> int:
    """The status of an exit as the interpreter computes it: anything but a number is a message."""
    if exit_.code is None or isinstance(exit_.code, int):
        return exit_.code or 0
    print(exit_.code, file=sys.stderr)
    return 1


def close_descriptors(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


if __name__ == "__main__":
    serve(float(sys.argv[1]), sys.argv[2:])
