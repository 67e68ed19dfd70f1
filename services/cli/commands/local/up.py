"""``modelyard up``: the whole system on one machine, on loopback, in the foreground."""

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from modelyard.client import Client
from modelyard.client.steps import encode_path
from modelyard.models.errors import CorruptData, ModelyardError, UnknownName
from modelyard.models.registry import rollout
from modelyard.models.registry.manifest import Manifest
from modelyard.models.registry.rollout import read_rollout
from modelyard.models.registry.serving_config import read_left_out
from modelyard.models.registry.serving_set import prepare_config
from modelyard.models.registry.sharing.shared_store import SharedStore
from modelyard.models.registry.store import Store
from modelyard.models.sources.files import EXAMPLES, Sources, show
from modelyard.models.sources.pool_settings import PoolSettings
from modelyard.services import gpus
from modelyard.services.cli import output
from modelyard.services.cli.examples import RETRAIN, make_curl_lines
from modelyard.services.cli.follow import follow_jobs
from modelyard.services.cli.gateway import be_patient, connect, responds_ok
from modelyard.services.cli.processes import launch, redis_server
from modelyard.services.cli.processes.launch import LOOPBACK, SERVING_SOCKET, START_DEADLINE_S, ModelServerOptions
from modelyard.services.cli.processes.supervisor import Service, Supervisor
from modelyard.services.cli.project.catalog import drop_broken, is_listed, read_time
from modelyard.services.cli.settings import open_home_store
from modelyard.services.cli.up_lock import Ports, hold_lock
from modelyard.services.settings import make_sqlite_url

LOCAL_DRAIN_S = "2"
POLL_INTERVAL_S = 0.5


class NotServing(ModelyardError):
    """A model could not be trained or loaded."""


@dataclass(frozen=True)
class LocalSystem:
    """One local system: its folder and ports."""

    home: Path
    data_dir: Path
    port: int
    serving_port: int | None
    """For gRPC; None for no such port."""
    workers: int
    sources: Sources = EXAMPLES
    """Where models come from."""
    isolated: bool = True
    """Whether the model server gets a process of its own, and not the gateway's."""

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def store(self) -> Store:
        return open_home_store(self.home)

    def environment(self, broker: str, serving: str) -> dict[str, str]:
        """Settings of every process, as variables."""
        return {
            "MODELYARD_HOME": str(self.home),
            "MODELYARD_HOST": LOOPBACK,
            "MODELYARD_PORT": str(self.port),
            "MODELYARD_STORE": str(self.store.root),
            "MODELYARD_DATA_DIR": str(self.data_dir),
            "MODELYARD_WORK_DIR": str(self.home / "work"),
            "MODELYARD_TENSORBOARD_DIR": str(self.home / "tensorboard"),
            "MODELYARD_SERVING": serving,
            "MODELYARD_LEDGER_URL": make_sqlite_url(self.home),
            "MODELYARD_BROKER_URL": broker,
            "MODELYARD_CONCURRENCY": str(self.workers),
            "MODELYARD_DRAIN_S": LOCAL_DRAIN_S,
            "MODELYARD_MODELS": os.pathsep.join(map(str, self.sources.folders)),
        }


def up(local: LocalSystem, models: Sequence[str], recipe: str, data: str) -> None:
    """Starts everything, trains missing models, prints addresses, and runs until Ctrl-C or SIGTERM.

    Raises:
        ModelyardError: the cause and the remedy; all started processes are stopped.
    """
    started = time.monotonic()
    local.store.prepare()
    with hold_lock(local.home, Ports(local.port, local.serving_port or 0)):
        launch.require_free_ports(local.port, local.serving_port)
        supervisor = launch.make_supervisor(local.home)
        with launch.run_until_stopped(supervisor):
            start_all(local, supervisor, models)
            output.console.print(f"the console answers at {local.url}", markup=False)
            client, usable = connect(local.url), drop_broken(local.store, models)
            train_missing(local, client, usable, recipe, data)
            whole = list_loadable(local.store, usable)
            wait_until_serving(local, client, whole)
            print_summary(local, whole, time.monotonic() - started, has_key=client.options.key is not None)


# --- processes --------------------------------------------------------------------------------------------------------


def start_all(local: LocalSystem, supervisor: Supervisor, models: Sequence[str]) -> None:
    """Redis, model server, gateway, scheduler and trainers; returns when all of them answer."""
    folder = launch.make_private_folder(local.home)
    broker = folder / "redis.sock"
    services = make_services(local, broker, models, gpus.list_visible())
    with output.console.status("starting"):
        launch.start_services(supervisor, services)


def make_services(local: LocalSystem, broker: Path, models: Sequence[str], gpu_names: Sequence[str]) -> list[Service]:
    server = ModelServerOptions(local.store.root / rollout.CONFIG, broker.with_name(SERVING_SOCKET), local.serving_port)
    environment = local.environment(redis_server.make_broker_url(broker), server.address)
    queue_files = (local.home / "redis").resolve()
    queue_files.mkdir(parents=True, exist_ok=True)
    redis = redis_server.find_server()
    if redis.warning:
        output.errors.print(f"{redis.warning}; {redis_server.INSTALL}", style="yellow", markup=False, soft_wrap=True)
    output.report_left_out(prepare_config(local.store, PoolSettings.load().serving_pools).versions)
    client, before = connect(local.url), read_time(local.store)
    others = [
        Service("scheduler", [sys.executable, "-m", "modelyard.services.scheduler"], lambda: True, environment),
        *make_trainers(environment, gpu_names, ready=lambda: is_listed(local.store, models, before)),
        *make_sync(local, environment, broker.with_name("sync")),
    ]
    server = replace(server, metrics_port=launch.find_metrics_port(len(others)))
    return [
        Service(
            "redis",
            redis_server.build_command(redis, broker, queue_files),
            ready=lambda: redis_server.is_answering(broker),
        ),
        *launch.make_services(client, environment, server, isolated=local.isolated),
        *launch.separate_metrics(others),
    ]


def make_sync(local: LocalSystem, environment: Mapping[str, str], heartbeat: Path) -> list[Service]:
    """What follows the bucket, where one holds the store; ready when all that is served is here."""
    if not isinstance(local.store, SharedStore):
        return []
    heartbeat.unlink(missing_ok=True)
    command = [sys.executable, "-m", "modelyard.services.sync"]
    return [Service("sync", command, heartbeat.exists, {**environment, "MODELYARD_HEARTBEAT": str(heartbeat)})]


def make_trainers(environment: Mapping[str, str], gpu_names: Sequence[str], ready: Callable[[], bool]) -> list[Service]:
    """One for each GPU, a job at a time, and one for the CPU's queue; without GPUs that one alone."""
    command = [sys.executable, "-m", "modelyard.services.trainer"]
    if not gpu_names:
        return [Service("trainer", command, ready, environment)]
    one_job = {**environment, "MODELYARD_GPUS": "1", "MODELYARD_CONCURRENCY": "1"}
    return [
        *(
            Service(f"trainer-gpu{number}", command, ready, {**one_job, gpus.VARIABLE: name})
            for number, name in enumerate(gpu_names)
        ),
        Service("trainer-cpu", command, ready, {**environment, "MODELYARD_GPUS": "0", gpus.VARIABLE: ""}),
    ]


# --- first versions ---------------------------------------------------------------------------------------------------


def train_missing(local: LocalSystem, client: Client, models: Sequence[str], recipe: str, data: str) -> None:
    """Trains every model that has no stable version yet, through the queue, and shows progress.

    In a project, a job that did not end in a stable version is said, and nothing more: its file can be edited.

    Raises:
        NotServing: likewise, of the examples; with its reason.
    """
    missing = [model for model in models if read_rollout(local.store, model).stable is None]
    if not missing:
        return
    waiting = find_unfinished(client)
    ids = [
        waiting.get(model) or be_patient(client).jobs.submit(model, recipe=recipe, data=data).id for model in missing
    ]
    for job in follow_jobs(client, ids):
        if not job["result"].get("promotion", {}).get("promoted"):
            reason = job["result"].get("reason") or job["result"].get("promotion", {}).get("reason")
            text = f"{job['model']}: {job['state']}: {reason}; see {local.home}/log/trainer*.log"
            if not local.sources.folders:
                raise NotServing(text)
            output.errors.print(text, style="yellow", markup=False, soft_wrap=True)


def find_unfinished(client: Client) -> dict[str, str]:
    """Ids of jobs that an earlier start left in the queue, by model."""
    return {job.model: job.id for job in be_patient(client).jobs.list() if not job.ended}


def list_loadable(store: Store, models: Sequence[str]) -> list[str]:
    """Models with a stable version that is not damaged: of the others `up` has said so, and nobody loads them."""
    left_out = {(each.model, each.version) for each in read_left_out(store).versions}
    stable = {model: read_rollout(store, model).stable for model in models}
    return [model for model, version in stable.items() if version is not None and (model, version) not in left_out]


def wait_until_serving(local: LocalSystem, client: Client, models: Sequence[str]) -> None:
    """Returns when the model server has every stable version loaded, or has failed to: the others serve all the same.

    Raises:
        NotServing: it did not load one in time.
    """
    deadline = time.monotonic() + START_DEADLINE_S
    with output.console.status("loading"):
        for model in models:
            if not wait_for_version(client, model, read_rollout(local.store, model).stable, deadline):
                text = f"{model}: its stable version cannot be loaded; see {local.url}/readyz"
                output.errors.print(text, style="yellow", markup=False)


def wait_for_version(client: Client, model: str, stable: int | None, deadline: float) -> bool:
    """Whether the stable version answers; False once it has failed to load, or another answers in its place.

    Raises:
        NotServing: neither before the deadline, of ``time.monotonic()``.
    """
    while True:
        answers = responds_ok(
            client, encode_path("v2", "models", model, "ready")
        )  # first: the next one says by which version
        versions = be_patient(client).call("GET", encode_path("api", "models", model))["versions"]
        state = next((entry["state"] for entry in versions if entry["version"] == stable), "not loaded")
        if state == "AVAILABLE" or not versions:
            return True
        if state == "END" or answers:
            return False
        if time.monotonic() > deadline:
            raise NotServing(
                f"{model} version {stable} is not served ({state}); see log/modelserver.log or log/gateway.log"
            )
        time.sleep(POLL_INTERVAL_S)


def print_summary(local: LocalSystem, models: Sequence[str], took_s: float, *, has_key: bool) -> None:
    """Prints the models, example commands, where to look, and how to stop."""
    manifests, has_pools = read_manifests(local.store, models), bool(PoolSettings.load().serving_pools)

    def where(model: str) -> Sequence[str]:
        return (read_rollout(local.store, model).placement.pool,) if has_pools else ()

    rows = [
        (
            manifest.model,
            manifest.version,
            output.format_test(manifest.verdict.model_dump()),
            output.format_dataset(manifest.data.model_dump()) if manifest.data else "imported",
            *where(manifest.model),
            f"{local.url}/v1/models/{manifest.model}:predict",
        )
        for manifest in manifests
    ]
    output.console.print(f"\n[bold green]serving[/bold green] after {took_s:.0f} s\n")
    pool = ("pool",) if has_pools else ()
    output.print_table("model", "version", "test", "dataset", *pool, "url", rows=rows)
    output.console.print("\ntry:\n")
    readable = [manifest.model for manifest in manifests]
    trained = next(iter(readable), None) if local.sources.folders else RETRAIN
    for line in make_curl_lines(local.store, local.home, local.url, readable, trained, has_key=has_key):
        output.console.print(f"  {line}", soft_wrap=True, markup=False)
    for folder in local.sources.folders:
        output.console.print(f"\nmodels in {show(folder)}: a new or edited file is known within seconds.", markup=False)
    output.console.print(f"\nconsole: {local.url}", markup=False)
    output.console.print(f"logs in {local.home}/log. Ctrl-C stops everything.", markup=False)


def read_manifests(store: Store, models: Sequence[str]) -> list[Manifest]:
    """Manifests of the stable versions; one that cannot be read has been reported."""
    found = []
    for model in models:
        with suppress(CorruptData, UnknownName):
            found.append(store.manifest(model, read_rollout(store, model).stable or 0))
    return found
