"""What ``modelyard up`` and ``modelyard serve`` stand on: ports, a private folder, and the way to an orderly end.

These two commands stay in memory as long as the system runs: nothing large is imported here.
"""

import hashlib
import os
import signal
import socket
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from modelyard.models.errors import ModelyardError
from modelyard.services.cli import output as show
from modelyard.services.cli.client import Client
from modelyard.services.cli.processes.supervisor import Service, Supervisor

LOOPBACK = "127.0.0.1"
START_DEADLINE_S = 120.0
SERVING_SOCKET = "serving.sock"
SOCKET_PATH_BYTES = 100
"""Unix socket paths end at 108 bytes (unix(7)); some room is left for the system's own."""


class PortTaken(ModelyardError):
    """Another program listens where we want to."""


def require_free(port: int) -> None:
    """Raises ``PortTaken``."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise PortTaken(
                f"port {port} is taken ({error.strerror}); choose others with --port and --serving-port, "
                "`modelyard doctor` shows what listens"
            ) from None


def private_folder(home: Path) -> Path:
    """A folder of mode 0700 for the socket: ``<home>/run``, or one in the temporary folder if that path is too long."""
    folder = (home / "run").resolve()
    if len(os.fsencode(folder / "redis.sock")) > SOCKET_PATH_BYTES:
        name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
        folder = Path(tempfile.gettempdir()) / f"modelyard-{os.getuid()}-{name}"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise ModelyardError(f"{folder} is not a folder of ours; remove it")
    folder.chmod(0o700)
    return folder


def model_server(client: Client, port: int, config: Path, socket_path: Path) -> Service:
    """Also listens on a socket of this machine, and writes tensors as bytes: both cost the gateway less."""
    command = [
        *(sys.executable, "-m", "modelyard.services.modelserver"),
        f"--port={port}",
        f"--model_config_file={config}",
        "--model_config_file_poll_wait_seconds=1",
        f"--grpc_socket_path={socket_path}",
        "--enable_serialization_as_tensor_content",
    ]
    return Service("modelserver", command, client.model_server_answers, {"TF_CPP_MIN_LOG_LEVEL": "2"})


def gateway(client: Client, environment: Mapping[str, str]) -> Service:
    command = [sys.executable, "-m", "modelyard.services.gateway"]
    return Service("gateway", command, lambda: client.answers("/healthz"), environment)


def supervisor_of(home: Path) -> Supervisor:
    """Its processes log below ``home``; what happens to them is said on standard error."""
    return Supervisor(home / "log", on_event=lambda text: show.errors.print(f"[yellow]{text}[/yellow]"))


def start(supervisor: Supervisor, services: Sequence[Service]) -> None:
    """All at once; returns when each is ready."""
    for service in services:
        supervisor.start(service)
    for service in services:
        supervisor.wait_ready(service, START_DEADLINE_S)


@contextmanager
def until_stopped(supervisor: Supervisor) -> Iterator[None]:
    """After the body, waits for Ctrl-C or SIGTERM; then, or after an error, stops every process."""
    for stop in (signal.SIGINT, signal.SIGTERM):  # SIGINT too: whoever starts us in the background has it ignored
        signal.signal(stop, signal.default_int_handler)
    try:
        yield
        while True:
            signal.pause()
    except KeyboardInterrupt:
        show.console.print("stopping")
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the second Ctrl-C must not leave processes behind
        supervisor.stop()
