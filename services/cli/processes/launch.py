"""Ports, folders and processes of ``modelyard up`` and ``modelyard serve``, and their shutdown.

These two commands stay in memory as long as the system runs: nothing large is imported here.
"""

import hashlib
import os
import re
import shlex
import signal
import socket
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from modelyard.client import Client
from modelyard.models.errors import ModelyardError
from modelyard.services.cli import output
from modelyard.services.cli.gateway import reaches_model_server, responds_ok
from modelyard.services.cli.processes.supervisor import Service, Supervisor
from modelyard.services.cli.up_lock import is_up
from modelyard.services.settings import KeySettings

LOOPBACK = "127.0.0.1"
METRICS_PORT = "MODELYARD_METRICS_PORT"
START_DEADLINE_S = 120.0
SERVING_SOCKET = "serving.sock"
SERVING_PORT = 8500
"""Of a model server in a process of its own, unless another one is chosen."""
SOCKET_PATH_BYTES = 100
"""Limit for paths of Unix sockets: the system's is 108 bytes (unix(7))."""
PLAIN_PATH = re.compile(r"[A-Za-z0-9/._~-]+")
"""Characters that are themselves in every URL (RFC 3986, section 2.3)."""


class PortTaken(ModelyardError):
    """Another program listens on a port."""


@dataclass(frozen=True)
class ModelServerOptions:
    """What the model server serves, and where it can be reached over gRPC."""

    config: Path
    socket_path: Path
    """A Unix socket, for the gateway if it is another process, for trainers, the scheduler and imports."""
    port: int | None
    """On loopback, for any other client."""
    metrics_port: int = 0
    """Likewise, for Prometheus; 0: none. Of a process of its own: inside the gateway's they are the gateway's."""

    @property
    def address(self) -> str:
        return f"unix:{self.socket_path}"

    @property
    def flags(self) -> list[str]:
        return [
            *(() if self.port is None else (f"--port={self.port}",)),
            f"--model_config_file={self.config}",
            "--model_config_file_poll_wait_seconds=1",
            "--allow_version_labels_for_unavailable_models",
            f"--grpc_socket_path={self.socket_path}",
        ]

    @property
    def metrics_flags(self) -> list[str]:
        """Those that show metrics, as TensorFlow Serving does."""
        if not self.metrics_port:
            return []
        return [f"--rest_api_port={self.metrics_port}", f"--monitoring_config_file={self.monitoring}"]

    @property
    def monitoring(self) -> Path:
        """TensorFlow Serving's file that turns metrics on."""
        return self.socket_path.with_name("monitoring.txt")


def choose_isolation(wanted: bool | None, *, gateways: int = 1) -> bool:
    """Whether the model server gets a process of its own: as wanted; or where gateways share it, or keys are on.

    A SavedModel is a program: in the gateway's process it would compute beside the secret of the keys.
    """
    if wanted is not None:
        return wanted
    return gateways > 1 or KeySettings.load().key_secret is not None


def choose_serving_port(wanted: int | None, *, isolated: bool) -> int | None:
    """The gRPC port: the wanted one; without one, only a process of its own has any."""
    return SERVING_PORT if wanted is None and isolated else wanted


def require_free_ports(*ports: int | None) -> None:
    """Raises ``PortTaken`` for the first that is taken."""
    for port in ports:
        if port is not None:
            require_free_port(port)


def require_free_port(port: int, options: str = "--port and --serving-port") -> None:
    """Raises ``PortTaken``, which names the options that choose another one."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise PortTaken(
                f"port {port} is taken ({error.strerror}); choose another with {options}, "
                "`modelyard doctor` shows what listens"
            ) from None


def make_private_folder(home: Path) -> Path:
    """A folder of mode 0700 for sockets: ``<home>/run``, or one in the temporary folder.

    The other one, if the path is too long, or has a character that means something in the URLs of brokers and servers.
    """
    folder = (home / "run").resolve()
    if len(os.fsencode(folder / "redis.sock")) > SOCKET_PATH_BYTES or not PLAIN_PATH.fullmatch(str(folder)):
        name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
        folder = Path(tempfile.gettempdir()) / f"modelyard-{os.getuid()}-{name}"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise ModelyardError(f"{folder} is not a folder of ours; remove it")
    folder.chmod(0o700)
    return folder


def make_services(
    client: Client, environment: Mapping[str, str], server: ModelServerOptions, *, isolated: bool, gateways: int = 1
) -> list[Service]:
    """The gateway, and the model server: inside it, or ``isolated`` in a process of its own, before any number."""
    if isolated:
        if server.metrics_port:
            server.monitoring.write_text("prometheus_config { enable: true }\n")
        command = [sys.executable, "-m", "modelyard.services.modelserver", *server.flags, *server.metrics_flags]
        settings = {"TF_CPP_MIN_LOG_LEVEL": "2"}
        apart = Service("modelserver", command, lambda: reaches_model_server(client), settings)
        known = {**environment, "MODELYARD_SERVING": server.address}
        return [apart, *make_gateways(client, known, gateways, server.socket_path.parent)]
    inside = {"MODELYARD_SERVING": "local", "MODELYARD_SERVING_FLAGS": shlex.join(server.flags)}
    gateway = make_gateway(client, {**environment, **inside})
    return [replace(gateway, ready=lambda: gateway.ready() and reaches_model_server(client))]


def make_gateway(client: Client, environment: Mapping[str, str]) -> Service:
    command = [sys.executable, "-m", "modelyard.services.gateway"]
    plain = {"MODELYARD_HTTPS_CERTIFICATE": "", "MODELYARD_HTTPS_KEY": ""}  # on this machine: its commands call it so
    return Service("gateway", command, lambda: responds_ok(client, "/healthz"), {**environment, **plain})


def make_gateways(client: Client, environment: Mapping[str, str], count: int, folder: Path) -> list[Service]:
    """Gateways that share a port, if it is more than one; their sockets are in ``folder``, which is private."""
    if count == 1:
        return [make_gateway(client, environment)]
    for left in folder.glob("gateway-*.sock"):
        left.unlink()
    return [make_sharing_gateway(client, environment, number, folder) for number in range(1, count + 1)]


def make_sharing_gateway(client: Client, environment: Mapping[str, str], number: int, folder: Path) -> Service:
    known = {"MODELYARD_GATEWAY_NUMBER": str(number), "MODELYARD_GATEWAY_SOCKETS": str(folder)}
    one = make_gateway(client, {**environment, **known})
    return replace(one, name=f"gateway-{number}", ready=(folder / f"gateway-{number}.sock").is_socket)


def separate_metrics(services: Sequence[Service]) -> Iterator[Service]:
    """The first shows its metrics on ``MODELYARD_METRICS_PORT``, if that is set, each other on the port after."""
    for number, service in enumerate(services):
        port = find_metrics_port(number)
        known = {METRICS_PORT: str(port)} if port else {}
        yield replace(service, environment={**service.environment, **known})


def find_metrics_port(number: int) -> int:
    """Of the process with this number, from 0; 0 without ``MODELYARD_METRICS_PORT``."""
    first = os.environ.get(METRICS_PORT, "")
    return int(first) + number if first.isdecimal() and int(first) else 0


def make_supervisor(home: Path) -> Supervisor:
    """A supervisor whose processes log below ``home``; it reports restarts on standard error."""
    return Supervisor(home / "log", on_event=lambda text: output.errors.print(f"[yellow]{text}[/yellow]"))


def start_services(supervisor: Supervisor, services: Sequence[Service]) -> None:
    """Starts all services at once; returns when each is ready."""
    for service in services:
        supervisor.start(service)
    for service in services:
        supervisor.wait_ready(service, START_DEADLINE_S)


def find_servers(home: Path) -> Sequence[str]:
    """The model server of the ``modelyard up`` that runs on this folder; none if none does."""
    if not is_up(home):
        return ()
    return (f"unix:{make_private_folder(home) / SERVING_SOCKET}",)


@contextmanager
def run_until_stopped(supervisor: Supervisor) -> Iterator[None]:
    """After the body, waits for Ctrl-C or SIGTERM; then, or after an error, stops every process."""
    for stop in (signal.SIGINT, signal.SIGTERM):  # SIGINT too: a shell ignores it for background processes
        signal.signal(stop, signal.default_int_handler)
    try:
        yield
        while True:
            signal.pause()
    except KeyboardInterrupt:
        output.console.print("stopping")
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the second Ctrl-C must not leave processes behind
        supervisor.stop()
