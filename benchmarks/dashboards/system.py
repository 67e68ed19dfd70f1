"""A whole system before a Prometheus that scrapes it, by the shipped configuration with this machine's addresses."""

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

from benchmarks.dashboards.bucket import FollowedBucket, followed_bucket
from benchmarks.served import free_ports
from benchmarks.small_disk import small_disk
from modelyard.client import Client
from modelyard.services.cli.commands.local.up import LocalSystem, make_services, train_missing, wait_until_serving
from modelyard.services.cli.processes import launch
from modelyard.services.cli.processes.supervisor import Service, Supervisor
from modelyard.services.keys import KeyRequest, Role
from modelyard.services.ledger import Ledger
from modelyard.services.settings import make_sqlite_url
from modelyard.services.trainer.process import TITLE

DEPLOY = Path(__file__).parents[2] / "deploy" / "prometheus"
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
    bucket: FollowedBucket
    has_own_disk: bool
    """Whether its folders are on a small file system that nobody else has."""

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
    with small_disk(home) as has_own_disk, run_receiver() as receiver:
        yield from run_system(home, receiver, has_own_disk=has_own_disk)


def run_system(home: Path, receiver: str, *, has_own_disk: bool) -> Iterator[Observed]:
    """The one system, and its end."""
    port, serving_port, metrics_port, prometheus_port, sync_port = free_metrics_ports()
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
        "MODELYARD_NOTIFY_URL": receiver,
    }
    os.environ.update(settings)
    services = make_services(local, launch.make_private_folder(home) / "redis.sock", MODELS, gpu_names=())
    services = [replace(each, command=[*each.command, *batching(each)]) for each in services]
    supervisor = Supervisor(home / "log", on_event=print)
    names = ("scheduler", "trainer", "modelserver")
    targets = {"gateway": port, "sync": sync_port, **{name: metrics_port + n for n, name in enumerate(names)}}
    try:
        launch.start_services(supervisor, services)
        client = Client(local.url)
        train_missing(local, client, MODELS, "quick", "sample")
        wait_until_serving(local, client, MODELS)
        bearer = {"Authorization": f"Bearer {keys['admin']}"}
        with (
            followed_bucket(home / "follower", sync_port, keys["token"]) as bucket,
            run_prometheus(home / PROMETHEUS, prometheus_port, targets, keys) as url,
            httpx.Client(base_url=local.url, timeout=30, headers=bearer) as http,
            httpx.Client(base_url=url, timeout=30) as prometheus,
        ):
            system = Observed(local, supervisor, http, prometheus, bucket, has_own_disk)
            wait_for_targets(system, targets)
            bucket.move_in(local.store)
            yield system
    finally:
        supervisor.stop()


def batching(service: Service) -> Sequence[str]:
    """Flags with which the model server joins calls, as it does in containers; none of other processes."""
    if service.name != "modelserver":
        return ()
    return ("--enable_batching", f"--batching_parameters_file={DEPLOY.parent / 'serving' / 'batching.2.txt'}")


def free_metrics_ports() -> Sequence[int]:
    """Of gateway, model server, scheduler, Prometheus and sync; two follow on the scheduler's, for the others."""
    while True:
        found = free_ports(5)
        if not {found[2] + 1, found[2] + 2} & set(found):
            return found


@contextmanager
def run_receiver() -> Iterator[str]:
    """The URL of one for notifications, which takes the first and refuses all others."""

    class Handler(BaseHTTPRequestHandler):
        taken = 0

        def do_POST(self) -> None:  # the library's name
            self.rfile.read(int(self.headers["Content-Length"]))
            type(self).taken += 1
            self.send_response(200 if self.taken == 1 else 500)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Of each there would be a line."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


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
        await_ready(f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)


def await_ready(url: str) -> None:
    """Returns when Prometheus answers queries: before that it listens, and refuses them; exits if it never does."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{url}/-/ready", timeout=5, trust_env=False).is_success:
                return
        time.sleep(0.2)
    raise SystemExit("Prometheus did not start")


def adapt_configuration(folder: Path, targets: Mapping[str, int]) -> dict[str, Any]:
    """The shipped one, with the addresses and files of here: nothing else of it is changed."""
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    found["rule_files"] = [str(folder / "alerts.yml")]
    jobs = []
    for job in found["scrape_configs"]:
        job.pop("dns_sd_configs", None)
        job["static_configs"] = [{"targets": [f"127.0.0.1:{targets[job['job_name']]}"]}]
        if "authorization" in job:
            file = "viewer" if job["job_name"] == "gateway" else "token"
            job["authorization"] = {"credentials_file": str(folder / file)}
        jobs.append(job)
    static = {"static_configs": [{"targets": [f"127.0.0.1:{targets['sync']}"]}]}  # compose has no bucket
    jobs.append({"job_name": "sync", "authorization": {"credentials_file": str(folder / "token")}} | static)
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
