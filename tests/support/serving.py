"""Serving processes for tests, and clients that know the right answer: version N computes x/2 + N."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from modelyard.models.tfserving.client import ServingClient
from modelyard.models.tfserving.messages import ServingFailed
from tests.support.ports import free_port
from tests.support.waiting import LONG_TIMEOUTS, wait_until

START_S = 180.0
STOP_S = 120.0
WAIT_S = 90.0
"""For what takes a second or two on a machine with nothing else to do."""
PAUSE_S = 0.02
"""Of a client between two requests: leaves the processors to the servers."""
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


# --- processes --------------------------------------------------------------------------------------------------------


@dataclass
class Running:
    """One process of ours, and what it printed."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def printed(self) -> str:
        return self.log.read_text(errors="replace")

    def child(self, words: str) -> psutil.Process | None:
        """A living descendant by words of its command line."""
        return self._descendant(lambda process: words in " ".join(process.cmdline()))

    def child_named(self, name: str) -> psutil.Process | None:
        """A living descendant by its name in lists of processes: forks have their parent's command line."""
        return self._descendant(lambda process: process.name() == name)

    def _descendant(self, wanted: Callable[[psutil.Process], bool]) -> psutil.Process | None:
        for process in psutil.Process(self.process.pid).children(recursive=True):
            try:
                if wanted(process) and process.status() != psutil.STATUS_ZOMBIE:
                    return process
            except psutil.Error:
                continue
        return None

    def stop(self) -> int:
        """SIGCONT for those that stand still, SIGTERM, and the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        return self.process.wait(STOP_S)


@contextmanager
def running(log: Path, *arguments: str, **variables: str) -> Iterator[Running]:
    """``python -m ...`` until the end of the block."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=LONG_TIMEOUTS | os.environ | {"COLUMNS": "200", **variables},
        )
    found = Running(process, log)
    try:
        yield found
    finally:
        found.stop()


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
        with httpx.Client(timeout=30, trust_env=False) as http:
            yield Served(f"http://{HOST}:{port}", serving_port, process, http)


@contextmanager
def gateway_and_servers(home: Path, config: str, model: str, count: int = 1, **settings: str) -> Iterator[Served]:
    """A gateway with ``count`` model servers of one configuration, nobody restarts any of them."""
    file = home / "models.config"
    file.write_text(config)
    ports, port = [free_port() for _ in range(count)], free_port()
    variables = {
        "MODELYARD_PORT": str(port),
        "MODELYARD_STORE": str(home / "no-store"),
        "MODELYARD_SERVING": ",".join(f"{HOST}:{each}" for each in ports),
        "MODELYARD_EXTERNAL_MODELS": model,
    }
    with ExitStack() as stack:
        servers = [
            stack.enter_context(
                running(
                    home / f"{each}.log",
                    "modelyard.services.modelserver",
                    f"--port={each}",
                    f"--model_config_file={file}",
                )
            )
            for each in ports
        ]
        gateway = stack.enter_context(
            running(home / "gateway.log", "modelyard.services.gateway", **variables, **settings)
        )
        http = stack.enter_context(httpx.Client(timeout=30, trust_env=False))
        served = Served(f"http://{HOST}:{port}", ports[0], gateway, http, servers)
        wait_until(lambda: listens(port), START_S, "listening")
        for each in ports:
            wait_until(lambda each=each: serves(each, model), START_S, f"{model} is loaded on {each}")
        yield served


def serves(port: int, model: str) -> bool:
    """Whether the model server there has a version loaded."""
    with closing(ServingClient(f"{HOST}:{port}")) as client:
        try:
            return any(version.state == "AVAILABLE" for version in client.status(model, timeout_s=5))
        except ServingFailed:
            return False


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


# --- clients ----------------------------------------------------------------------------------------------------------


@dataclass
class Traffic:
    """What clients of a version-revealing model saw. ``failed`` and ``wrong`` are what must not be."""

    url: str
    pinned: int | None = None
    """Version that pinned clients name."""
    right: list[float] = field(default_factory=list)
    """Times of right responses."""
    responses: list[tuple[float, float, int]] = field(default_factory=list)
    """Of each right one: when its request was sent, when it was received, and its version."""
    last_sent: dict[int, float] = field(default_factory=dict)
    """By client: when its last request that got a response was sent."""
    versions: Counter[int] = field(default_factory=Counter)
    refused: list[httpx.Response] = field(default_factory=list)
    """503 with Retry-After."""
    late: list[httpx.Response] = field(default_factory=list)
    """504."""
    wrong: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def ask(self, http: httpx.Client, client: int, number: int, *, pinned: bool) -> None:
        sent_at = time.monotonic()
        self._ask(http, number, self.pinned if pinned else None, sent_at)
        self.last_sent[client] = sent_at

    def _ask(self, http: httpx.Client, number: int, version: int | None, sent_at: float) -> None:
        path = f"/versions/{version}" if version else ""
        try:
            response = http.post(f"{self.url}{path}:predict", json={"instances": [number]})
        except httpx.HTTPError as error:
            self.failed.append(repr(error))
            return
        if response.status_code == httpx.codes.OK:
            self._judge(response, number, version, sent_at)
        elif response.status_code == httpx.codes.SERVICE_UNAVAILABLE and "Retry-After" in response.headers:
            self.refused.append(response)
        elif response.status_code == httpx.codes.GATEWAY_TIMEOUT:
            self.late.append(response)
        else:
            self.failed.append(f"{path} {response.status_code} {response.text}")

    def _judge(self, response: httpx.Response, number: int, pinned: int | None, sent_at: float) -> None:
        version = int(response.headers["X-Model-Version"])
        if response.json() == {"predictions": [number / 2 + version]} and pinned in (None, version):
            self.right.append(received_at := time.monotonic())
            self.responses.append((sent_at, received_at, version))
            self.versions[version] += 1
        else:
            self.wrong.append(f"{number} asked of {pinned or 'the latest'}: version {version} returned {response.text}")

    @property
    def request_count(self) -> int:
        refused = len(self.refused) + len(self.late)
        return len(self.right) + refused + len(self.wrong) + len(self.failed)


@contextmanager
def traffic(
    served: Served, model: str, clients: int = 4, pinned: int | None = None, headers: Mapping[str, str] | None = None
) -> Iterator[Traffic]:
    """Clients that send request after request; with ``pinned``, every other one names that version."""
    seen = Traffic(f"{served.url}/v1/models/{model}", pinned, last_sent=dict.fromkeys(range(clients), 0.0))
    stop = threading.Event()

    def client(index: int) -> None:
        number = index
        with httpx.Client(timeout=30, headers=headers) as http:
            while not stop.wait(PAUSE_S):
                number = (number + clients) % 1000
                seen.ask(http, index, number, pinned=bool(index % 2))

    threads = [threading.Thread(target=client, args=(index,)) for index in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def more(seen: Traffic, count: int = 20) -> Callable[[], bool]:
    """Whether so many right responses came since now."""
    before = len(seen.right)
    return lambda: len(seen.right) >= before + count


def saw_every_client_again(seen: Traffic) -> Callable[[], bool]:
    """Whether every client has sent a request since now and got its response: nothing older is in flight."""
    now = time.monotonic()
    return lambda: min(seen.last_sent.values()) > now
