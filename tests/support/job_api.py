"""A gateway that takes jobs, on a real ledger and Redis; no trainer takes them."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from modelyard.models.catalog import FILE, Catalog, RecipeField, TrainableModel
from modelyard.pipeline.processes.forkserver import ForkServer
from modelyard.services.cli.processes import redis_server
from modelyard.services.ledger import Ledger
from tests.support.ports import free_port
from tests.support.processes import START_S, WAIT_S, Running
from tests.support.programs import running_fork
from tests.support.waiting import wait_until

MODEL = "neuron"
JOB_BODY = {"model": MODEL, "recipe": "quick", "rollout": "manual"}
EPOCHS = RecipeField(default=3, constraints={"type": "integer", "minimum": 1, "maximum": 10})


@dataclass
class JobApi:
    """A gateway that takes jobs."""

    home: Path
    http: httpx.Client
    gateway: Running

    @property
    def ledger(self) -> Ledger:
        """The gateway's own, opened once more."""
        return Ledger(f"sqlite:///{self.home}/ledger.db")

    def submit(self, asked: dict[str, Any] = JOB_BODY, key: str | None = None) -> httpx.Response:
        headers = {} if key is None else {"Idempotency-Key": key}
        return self.http.post("/api/jobs", content=json.dumps(asked), headers=headers)

    def jobs(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = self.http.get("/api/jobs").json()["jobs"]
        return listed

    @contextmanager
    def redis(self) -> Iterator[None]:
        socket = self.home / "redis.sock"
        command = redis_server.build_command(redis_server.find_server(), socket, self.home)
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            wait_until(lambda: redis_server.is_answering(socket), WAIT_S, "redis")
            yield
        finally:
            server.terminate()
            server.wait(WAIT_S)


@contextmanager
def open_api(forks: ForkServer, home: Path) -> Iterator[JobApi]:
    store = home / "store"
    store.mkdir()
    known = TrainableModel(
        name=MODEL, task="regression", summary="", dataset="", homepage="", recipes={"quick": {"epochs": EPOCHS}}
    )
    (store / FILE).write_text(Catalog(digest="", trainable={MODEL: known}).model_dump_json())
    port = free_port()
    settings = {
        "MODELYARD_PORT": str(port),
        "MODELYARD_STORE": str(store),
        "MODELYARD_LEDGER_URL": f"sqlite:///{home}/ledger.db",
        "MODELYARD_BROKER_URL": redis_server.make_broker_url(home / "redis.sock"),
    }
    with (
        running_fork(forks, home / "gateway.log", "gateway", **settings) as gateway,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=WAIT_S) as http,
    ):
        found = JobApi(home, http, gateway)
        wait_until(lambda: "listening" in gateway.printed, START_S, "the gateway")
        yield found
