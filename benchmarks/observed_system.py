"""A whole system before a Prometheus that scrapes it, by the shipped configuration with this machine's addresses."""

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

from benchmarks.served import free_ports
from modelyard.client import Client
from modelyard.services.cli.commands.local.up import LocalSystem, make_services, train_missing, wait_until_serving
from modelyard.services.cli.processes import launch
from modelyard.services.cli.processes.supervisor import Supervisor
from modelyard.services.keys import KeyRequest, Role
from modelyard.services.ledger import Ledger
from modelyard.services.settings import make_sqlite_url
from modelyard.services.trainer.process import TITLE

DEPLOY = Path(__file__).parents[1] / "deploy" / "prometheus"
MODELS = ("neuron", "mnist_mlp", "logistic")
PROMETHEUS = "prometheus"
READY_S = 60.0


@dataclass(frozen=True)
class Observed:
    """What runs, and who may ask it."""

    local: LocalSystem
    supervisor: Supervisor
    http: httpx.Client
    """The gateway, with an administrator's key."""
    prometheus: httpx.Client

    def process(self, name: str) -> psutil.Process:
        return psutil.Process(self.supervisor.pids()[name])

    def training(self) -> psutil.Process | None:
        """The process that trains, if a job runs."""
        with contextlib.suppress(psutil.NoSuchProcess, KeyError):
            for process in self.process("trainer").children(recursive=True):
                if process.name() == TITLE:
                    return process
        return None

    def ask(self, path: str, **parameters: Any) -> Any:
        """Prometheus' answer (https://prometheus.io/docs/prometheus/latest/querying/api/)."""
        found = self.prometheus.get(f"/api/v1/{path}", params=parameters).json()
        if found["status"] != "success":
            raise SystemExit(f"{path} {parameters}: {found}")
        return found["data"]


@contextmanager
def observed_system(home: Path) -> Iterator[Observed]:
    """Until the end of the block; begins when the models answer and every target is scraped."""
    port, serving_port, metrics_port, trainer_port, prometheus_port = free_metrics_ports()
    local = LocalSystem(home, home / "data", port, serving_port, workers=1)
    local.store.prepare()
    keys = make_keys(home)
    settings = {
        "MODELYARD_KEY_SECRET": keys["secret"],
        "MODELYARD_API_KEY": keys["admin"],
        "MODELYARD_METRICS_PORT": str(metrics_port),
        "MODELYARD_METRICS_TOKEN": keys["token"],
        "MODELYARD_CAPTURED_MODELS": "mnist_mlp",
        "MODELYARD_CACHED_MODELS": "logistic",
        "MODELYARD_DRIFT_S": "10",
    }
    os.environ.update(settings)
    services = make_services(local, launch.make_private_folder(home) / "redis.sock", MODELS, gpu_names=())
    supervisor = Supervisor(home / "log", on_event=print)
    targets = {"gateway": port, "scheduler": metrics_port, "trainer": trainer_port}
    try:
        launch.start_services(supervisor, services)
        client = Client(local.url)
        train_missing(local, client, MODELS, "quick", "sample")
        wait_until_serving(local, client, MODELS)
        bearer = {"Authorization": f"Bearer {keys['admin']}"}
        with (
            run_prometheus(home / PROMETHEUS, prometheus_port, targets, keys) as url,
            httpx.Client(base_url=local.url, timeout=30, headers=bearer) as http,
            httpx.Client(base_url=url, timeout=30) as prometheus,
        ):
            system = Observed(local, supervisor, http, prometheus)
            wait_for_targets(system, targets)
            yield system
    finally:
        supervisor.stop()


def free_metrics_ports() -> tuple[int, ...]:
    """Of gateway, model server, scheduler, trainer and Prometheus; the trainer's is the one after the scheduler's."""
    while True:
        found = free_ports(4)
        following = found[2] + 1
        if following not in found:
            return (*found[:3], following, found[3])


def make_keys(home: Path) -> dict[str, str]:
    """An administrator's key and Prometheus' own, a viewer's; the secrets of both and of the metrics."""
    secret, token = secrets.token_hex(32), secrets.token_hex(32)
    with closing(Ledger(make_sqlite_url(home))) as ledger:
        ledger.migrate()
        admin, viewer = (
            ledger.keys.create(KeyRequest(name=role, role=role), "benchmark", secret.encode())[1]
            for role in (Role.ADMIN, Role.VIEWER)
        )
    return {"secret": secret, "token": token, "admin": admin, "viewer": viewer}


@contextmanager
def run_prometheus(folder: Path, port: int, targets: Mapping[str, int], keys: Mapping[str, str]) -> Iterator[str]:
    """Its address; it runs until the end of the block."""
    folder.mkdir()
    shutil.copy(DEPLOY / "alerts.yml", folder)
    for name, key in (("viewer", keys["viewer"]), ("token", keys["token"])):
        (folder / name).write_text(key)
    (folder / "prometheus.yml").write_text(yaml.safe_dump(adapt_configuration(folder, targets)))
    listen = [f"--web.listen-address=127.0.0.1:{port}", f"--storage.tsdb.path={folder / 'data'}"]
    command = [PROMETHEUS, f"--config.file={folder / 'prometheus.yml'}", *listen]
    with (folder / "log").open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)


def adapt_configuration(folder: Path, targets: Mapping[str, int]) -> dict[str, Any]:
    """The shipped one, with the addresses and files of here: nothing else of it is changed."""
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    found["rule_files"] = [str(folder / "alerts.yml")]
    jobs = []
    for job in found["scrape_configs"]:
        if job["job_name"] not in targets:
            continue  # TensorFlow Serving's own: our model server stands in its place
        job.pop("dns_sd_configs", None)
        job["static_configs"] = [{"targets": [f"127.0.0.1:{targets[job['job_name']]}"]}]
        file = "viewer" if job["job_name"] == "gateway" else "token"
        job["authorization"] = {"credentials_file": str(folder / file)}
        jobs.append(job)
    return found | {"scrape_configs": jobs}


def wait_for_targets(system: Observed, targets: Mapping[str, int]) -> None:
    """Returns when each has been scraped; exits, naming what is wrong, if one is not in time."""
    deadline = time.monotonic() + READY_S
    while True:
        with contextlib.suppress(httpx.HTTPError):
            active = system.ask("targets")["activeTargets"]
            if {each["labels"]["job"] for each in active if each["health"] == "up"} == set(targets):
                return
            if time.monotonic() > deadline:
                raise SystemExit(json.dumps([[each["scrapeUrl"], each["lastError"]] for each in active]))
        time.sleep(1)
