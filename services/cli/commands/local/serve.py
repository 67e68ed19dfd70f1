"""``modelyard serve``: a model server and gateways over existing SavedModels. No queue, no training."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from modelyard.client import Client, ModelyardClientError, Unavailable
from modelyard.services.cli import output
from modelyard.services.cli.commands.local.serve_models import Selection, select_entries, select_folders
from modelyard.services.cli.gateway import connect
from modelyard.services.cli.processes import launch
from modelyard.services.cli.processes.launch import LOOPBACK, SERVING_SOCKET, START_DEADLINE_S, ModelServerOptions
from modelyard.services.cli.processes.supervisor import Service

CONFIG = "models.config"
POLL_INTERVAL_S = 0.2
Versions = Sequence[Mapping[str, Any]]
"""TensorFlow Serving's ``model_version_status``."""


@dataclass(frozen=True)
class ServeOptions:
    """Models to serve, and ports."""

    home: Path
    """Folder of logs, and of the configuration written for ``models_dir``."""
    port: int
    serving_port: int | None
    """For gRPC; None for no such port."""
    isolated: bool
    """Whether the model server gets a process of its own."""
    models_dir: Path | None = None
    model_config: Path | None = None
    batch: str = "checked"
    """Whether requests share runs of the model: checked, always or never."""
    workers: int = 1
    """Gateways that share the port."""

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"


def serve(options: ServeOptions) -> None:
    """Starts all processes and runs until Ctrl-C or SIGTERM.

    Raises:
        ModelyardError: the cause and the remedy; all started processes are stopped.
    """
    started = time.monotonic()
    selection = select_models(options)
    launch.require_free_ports(options.port, options.serving_port)
    supervisor = launch.make_supervisor(options.home)
    with launch.run_until_stopped(supervisor):
        services = make_services(options, selection)
        with output.console.status("loading"):
            launch.start_services(supervisor, services)
            client = connect(options.url)
            found = wait_until_loaded(client, selection.names)
        print_summary(options, found, selection.notes, time.monotonic() - started)


def select_models(options: ServeOptions) -> Selection:
    """The models, and the model server's configuration; raises ``NothingToServe``."""
    if options.model_config:
        return select_entries(options.model_config, options.home / CONFIG)
    assert options.models_dir
    return select_folders(options.models_dir, options.home / CONFIG)


def make_services(options: ServeOptions, selection: Selection) -> list[Service]:
    client = connect(options.url)
    folder = launch.make_private_folder(options.home)
    socket_path = folder / SERVING_SOCKET
    environment = {
        "MODELYARD_HOME": str(options.home.parent),
        "MODELYARD_HOST": LOOPBACK,
        "MODELYARD_PORT": str(options.port),
        "MODELYARD_STORE": str(options.models_dir or options.home / "no-store"),
        "MODELYARD_EXTERNAL_MODELS": json.dumps(selection.names),
        "MODELYARD_BATCH_EXTERNAL_MODELS": options.batch,
    }
    server = ModelServerOptions(selection.config, socket_path, options.serving_port, launch.find_metrics_port(0))
    return launch.make_services(client, environment, server, isolated=options.isolated, gateways=options.workers)


def wait_until_loaded(client: Client, names: Sequence[str]) -> dict[str, Versions]:
    """Waits until every model is loaded or has failed. Returns the states of their versions; none if it has none."""
    deadline = time.monotonic() + START_DEADLINE_S
    return {name: wait_for_model(client, name, deadline) for name in names}


def wait_for_model(client: Client, name: str, deadline: float) -> Versions:
    """Waits until no version of a model is loading, or until the deadline. Returns the states of its versions.

    A model that the model server does not know has none: that says nothing of the others.

    Raises:
        Unavailable: the model server, busy with loading, did not answer before the deadline.
    """
    while True:
        late = time.monotonic() > deadline
        try:
            found: Versions = client.call("GET", f"/v1/models/{quote(name, safe='')}")["model_version_status"]
            if late or (found and all(entry["state"] in ("AVAILABLE", "END") for entry in found)):
                return found
        except Unavailable:
            if late:
                raise
        except ModelyardClientError:
            return ()
        time.sleep(POLL_INTERVAL_S)


def print_summary(
    options: ServeOptions, found: Mapping[str, Versions], notes: Mapping[str, str], took_s: float
) -> None:
    """Prints the served models and their addresses, and what is not served."""
    output.console.print(f"\n[bold green]serving[/bold green] after {took_s:.0f} s\n")
    rows = [
        (name, describe_versions(versions), f"{options.url}/v1/models/{quote(name, safe='')}:predict")
        for name, versions in found.items()
    ]
    output.print_table("model", "versions", "url", rows=rows)
    if notes:
        output.console.print()
        output.print_table("not served", "because", rows=notes.items())
    first = quote(choose_example(found), safe="")
    output.console.print(f"\nsignatures: curl {options.url}/v1/models/{first}/metadata", markup=False, soft_wrap=True)
    output.console.print(f"logs in {options.home}/log. Ctrl-C stops all processes.", markup=False)


def choose_example(found: Mapping[str, Versions]) -> str:
    """The first model that answers, or else the first."""
    answering = (name for name, versions in found.items() if any(each["state"] == "AVAILABLE" for each in versions))
    return next(answering, next(iter(found)))


def describe_versions(versions: Versions) -> str:
    """The available versions, or the error of one."""
    answering = ", ".join(entry["version"] for entry in versions if entry["state"] == "AVAILABLE")
    return answering or next((entry["status"]["error_message"] for entry in versions), "no version was found")
