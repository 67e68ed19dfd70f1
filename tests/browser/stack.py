"""What pages are shown of: one whole system for all tests, and gateways of their own for tests that break them."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from modelyard.services.cli.processes import launch, redis_server
from modelyard.services.settings import make_sqlite_url
from tests.support import slim_programs
from tests.support.http import http
from tests.support.ports import free_port
from tests.support.slim_programs import ForkedGateway
from tests.support.tables import read_rows, write_csv
from tests.support.waiting import wait_until
from tests.system.conftest import System

MODELS = Path(__file__).parent / "models"
CAPTURED = "mnist_mlp,sentiment_lstm,wine"
"""Models whose predictions can get feedback."""
COLUMNS = {
    "alcohol": "<b>alcohol</b>",
    "malic_acid": 'malic "acid" & <script>document.title = "run"</script>',
    "proline": "<img src=x onerror=\"document.title='run'\">",
    "hue": "hue",
    "target": "cultivar",
}
"""Titles of the table's columns: markup, which must stay text."""
CLASSES = {
    "class_0": "<script>document.title='run'</script>",
    "class_1": "B & <i>C</i>",
    "class_2": "'\"><svg onload=1>",
}
START_S = 60.0


def make_folder(root: Path) -> Path:
    """Model files and the data of one of them; returns the folder of models."""
    models, data = root / "models", root / "data"
    shutil.copytree(MODELS, models, ignore=shutil.ignore_patterns("__pycache__"))
    data.mkdir()
    titles, rows = read_rows("wine")
    places = [titles.index(name) for name in COLUMNS]
    kept = [[CLASSES.get(row[place], row[place]) for place in places] for row in rows]
    write_csv(data / "wine.csv", list(COLUMNS.values()), kept)
    return models


@dataclass
class OwnGateway:
    """A gateway of a running system, on a port of its own: it can end, begin again, and have other settings."""

    system: System
    settings: dict[str, object] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: ForkedGateway | None = None

    @property
    def url(self) -> str:
        return f"http://{launch.LOOPBACK}:{self.port}"

    def start(self) -> "OwnGateway":
        """Returns when it answers."""
        home = self.system.home
        known = {
            "home": home,
            "port": self.port,
            "serving": f"{launch.LOOPBACK}:{self.system.serving_port}",
            "ledger_url": make_sqlite_url(home),
            "broker_url": redis_server.make_broker_url(launch.make_private_folder(home) / "redis.sock"),
        }
        self.process = ForkedGateway(slim_programs.start("gateway", known | self.settings))
        wait_until(lambda: answers(self.url), START_S, "the gateway")
        return self

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait(START_S)
            with self.process.fork:
                pass  # its streams are closed
            self.process = None

    def is_running(self) -> bool:
        return self.process is not None


def answers(url: str) -> bool:
    """Whether a gateway does."""
    try:
        return http.get(f"{url}/healthz", timeout=5).is_success
    except httpx.HTTPError:
        return False


@contextmanager
def own_gateway(system: System, **settings: object) -> Iterator[OwnGateway]:
    """One until the end of the block."""
    found = OwnGateway(system, settings)
    try:
        yield found.start()
    finally:
        found.stop()
