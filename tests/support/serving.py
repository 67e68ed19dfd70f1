"""Serving processes for tests: ``modelyard serve``, and gateways and model servers by themselves."""

import shutil
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from modelyard.models.tfserving.client import ServingClient
from modelyard.models.tfserving.messages import ServingFailed
from modelyard.pipeline.processes.forkserver import ForkServer
from tests.support.http import WITHOUT_TLS
from tests.support.ports import free_port
from tests.support.processes import START_S, WAIT_S, Running, running
from tests.support.programs import running_fork
from tests.support.waiting import wait_until

HOST = "127.0.0.1"
EVERY = "all {}"
MODEL = "half_plus"
"""Version N of it answers x/2 + N."""


# --- folders ----------------------------------------------------------------------------------------------------------


def put(saved: Path, place: Path) -> Path:
    """A copy of a saved version that appears whole, by one rename."""
    place.parent.mkdir(parents=True, exist_ok=True)
    staged = place.parent / f".staging-{place.name}"
    shutil.copytree(saved, staged)
    return staged.rename(place)


def remove(place: Path) -> None:
    """Disappears by one rename."""
    shutil.rmtree(place.rename(place.parent / f".removed-{place.name}"))


def config_of(models: Path, *names: str, **policies: str) -> str:
    """TensorFlow Serving's configuration of models by name; all versions are served where no policy is given."""
    entries = [
        f'config {{ name: "{name}" base_path: "{models / name}" model_platform: "tensorflow" '
        f"model_version_policy {{ {policies.get(name, 'all {}')} }} }}"
        for name in names
    ]
    return f"model_config_list {{ {' '.join(entries)} }}"


# --- processes -------------------------------------------------------------------------------------------------------


@dataclass
class Served:
    """A gateway and what stands behind it."""

    url: str
    serving_port: int
    gateway: Running
    """``modelyard serve``, whose child the gateway is; or the gateway itself."""
    http: httpx.Client
    servers: Sequence[Running] = ()

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def get(self, path: str) -> Any:
        return self.http.get(self.url + path).raise_for_status().json()

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.http.post(self.url + path, **options)

    def predict(self, model: str, instances: Sequence[Any], **options: Any) -> httpx.Response:
        return self.post(f"/v1/models/{model}:predict", json={"instances": instances}, **options)

    def states(self, model: str) -> dict[int, str]:
        """State of each version; polled as long as a busy server does not respond."""

        def read_states() -> httpx.Response | None:
            response = self.http.get(f"{self.url}/v1/models/{model}")
            return response if response.status_code in (httpx.codes.OK, httpx.codes.NOT_FOUND) else None

        response = wait_until(read_states, START_S, f"states of {model}")
        entries = response.json()["model_version_status"] if response.status_code == httpx.codes.OK else []
        return {int(entry["version"]): entry["state"] for entry in entries}

    def await_state(self, model: str, version: int, state: str | None) -> None:
        """None: the server has forgotten the version."""
        wanted = ("END", None) if state is None else (state,)
        wait_until(lambda: self.states(model).get(version) in wanted, WAIT_S, f"{model}/{version} {state}")

    def in_flight(self) -> int:
        """Requests besides this one."""
        lines = self.http.get(f"{self.url}/metrics").text.splitlines()
        (line,) = (line for line in lines if line.startswith("modelyard_gateway_requests_in_flight "))
        return int(float(line.split()[1])) - 1


def serve_command(home: Path, *arguments: str) -> tuple[int, int, list[str]]:
    """Two free ports, and ``modelyard serve`` on them."""
    port, serving_port = free_port(), free_port()
    ports = ["--port", str(port), "--serving-port", str(serving_port), "--home", str(home)]
    return port, serving_port, ["modelyard", "serve", *ports, *arguments]


@contextmanager
def modelyard_serve(home: Path, *arguments: str) -> Iterator[Served]:
    """``modelyard serve``, once it says that it serves."""
    home.mkdir(parents=True, exist_ok=True)
    port, serving_port, command = serve_command(home, *arguments)
    with running(home / "out", *command) as process:
        wait_until(lambda: "Ctrl-C stops" in process.printed or process.process.poll() is not None, START_S, "serve")
        assert process.process.poll() is None, process.printed
        with httpx.Client(timeout=30, **WITHOUT_TLS) as http:
            yield Served(f"http://{HOST}:{port}", serving_port, process, http)


@contextmanager
def gateway_and_servers(
    forks: ForkServer, home: Path, config: str, model: str, count: int = 1, **settings: str
) -> Iterator[Served]:
    """A gateway with ``count`` model servers of one configuration, nobody restarts any of them."""
    file = home / "models.config"
    file.write_text(config)
    ports, port = [free_port() for _ in range(count)], free_port()
    variables = {
        "MODELYARD_PORT": str(port),
        "MODELYARD_STORE": str(home / "no-store"),
        "MODELYARD_SERVING": ",".join(f"{HOST}:{each}" for each in ports),
        "MODELYARD_EXTERNAL_MODELS": model,
        **settings,
    }
    with ExitStack() as stack:
        servers = [
            stack.enter_context(
                running_fork(
                    forks, home / f"{each}.log", "modelserver", f"--port={each}", f"--model_config_file={file}"
                )
            )
            for each in ports
        ]
        gateway = stack.enter_context(running_fork(forks, home / "gateway.log", "gateway", **variables))
        http = stack.enter_context(httpx.Client(timeout=30, **WITHOUT_TLS))
        served = Served(f"http://{HOST}:{port}", ports[0], gateway, http, servers)
        wait_until(lambda: listens(port), START_S, "listening")
        for each in ports:
            wait_until(lambda each=each: serves(each, model), START_S, f"{model} is loaded on {each}")
        yield served


def serves(port: int, model: str, version: int | None = None) -> bool:
    """Whether the model server there has a version loaded: any, or this one."""
    with closing(ServingClient(f"{HOST}:{port}")) as client:
        try:
            return any(each.state == "AVAILABLE" for each in client.status(model, timeout_s=5, version=version))
        except ServingFailed:
            return False


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0
