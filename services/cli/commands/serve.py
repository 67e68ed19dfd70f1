"""``modelyard serve``: a model server and a gateway over existing SavedModels. No queue, no training."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.models.errors import ModelyardError
from modelyard.models.registry import rollout
from modelyard.models.registry.rollout import read_rollout, render_config
from modelyard.models.registry.store import NAME, Store
from modelyard.services.cli import output
from modelyard.services.cli.client import Client, TryLater
from modelyard.services.cli.processes import launch
from modelyard.services.cli.processes.launch import LOOPBACK, SERVING_SOCKET, START_DEADLINE_S
from modelyard.services.cli.processes.supervisor import Service

CONFIG = "models.config"
POLL_INTERVAL_S = 0.2
Versions = Sequence[Mapping[str, Any]]
"""TensorFlow Serving's ``model_version_status``."""


class NothingToServe(ModelyardError):
    """The folder or the configuration names no model."""

    exit_code = 2


@dataclass(frozen=True)
class ServeOptions:
    """Models to serve, and ports."""

    home: Path
    """Folder of logs, and of the configuration written for ``models_dir``."""
    port: int
    serving_port: int
    models_dir: Path | None = None
    model_config: Path | None = None
    batch: str = "checked"
    """Whether requests share runs of the model: checked, always or never."""

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"


def serve(options: ServeOptions) -> None:
    """Starts both processes and runs until Ctrl-C or SIGTERM.

    Raises:
        ModelyardError: the cause and the remedy; all started processes are stopped.
    """
    started = time.monotonic()
    config, names = find_configuration(options)
    for port in (options.port, options.serving_port):
        launch.require_free_port(port)
    supervisor = launch.make_supervisor(options.home)
    with launch.run_until_stopped(supervisor):
        services = make_services(options, config, names)
        with output.console.status("loading"):
            launch.start_services(supervisor, services)
            client = Client(options.url)
            found = wait_until_loaded(client, names)
        print_summary(options, found, time.monotonic() - started)


def find_configuration(options: ServeOptions) -> tuple[Path, tuple[str, ...]]:
    """The model server's configuration file, and the models in it.

    Raises:
        NothingToServe: no model was found; the text has the expected layout.
    """
    if options.model_config:
        return options.model_config, read_model_names(options.model_config)
    assert options.models_dir
    found = find_models(options.models_dir)
    if not found:
        raise NothingToServe(
            f"{options.models_dir} has no model: expected {options.models_dir}/NAME/1/saved_model.pb, or "
            f"{options.models_dir}/1/saved_model.pb for a single model"
        )
    if is_live_store(options.models_dir, found):
        return options.models_dir / rollout.CONFIG, tuple(found)
    options.home.mkdir(parents=True, exist_ok=True)
    config = options.home / CONFIG
    config.write_text(render_models(options.models_dir, found))
    return config, tuple(found)


def read_model_names(path: Path) -> tuple[str, ...]:
    """Names of the models in a text-format ``ModelServerConfig``.

    Raises:
        NothingToServe: the file cannot be read or parsed, or names no model; says where and why.
    """
    from google.protobuf import text_format  # 20 MB with the messages, not needed for a folder of models

    from modelyard.models.tfserving.messages import model_server_config_pb2

    try:
        config = text_format.Parse(path.read_text(), model_server_config_pb2.ModelServerConfig())
    except OSError as error:
        raise NothingToServe(f"cannot read {path}: {error.strerror}") from None
    except (UnicodeDecodeError, text_format.ParseError) as error:
        raise NothingToServe(f"{path} is not a text-format ModelServerConfig: {error}") from None
    names = tuple(entry.name for entry in config.model_config_list.config)
    if not names or not all(names):
        expected = 'expected model_config_list { config { name: "NAME" base_path: "/FOLDER" ... } }'
        raise NothingToServe(f"{path} has {'a model without a name' if names else 'no model'}: {expected}")
    return names


def find_models(folder: Path) -> dict[str, Path]:
    """Base path by name: every folder with a numbered SavedModel in it; the folder itself if it is one."""
    if has_versions(folder):
        return {folder.name: folder}
    return {path.name: path for path in sorted(folder.glob("*/")) if has_versions(path)}


def is_live_store(models_dir: Path, found: Iterable[str]) -> bool:
    """Whether the folder is a Modelyard store with a rollout of each model: then its own configuration is used."""
    config, store = models_dir / rollout.CONFIG, Store(models_dir)
    ours = all(NAME.fullmatch(name) and read_rollout(store, name).loaded for name in found)
    return ours and config.exists() and config.read_text() == render_config(store)


def has_versions(folder: Path) -> bool:
    return any(path.parent.name.isdecimal() for path in folder.glob("*/saved_model.pb"))


def render_models(models_dir: Path, found: dict[str, Path]) -> str:
    """The newest version of each model, or the loaded versions of its rollout, as text for the model server."""
    entries = []
    for name, path in found.items():
        loaded = read_rollout(Store(models_dir), name).loaded if (path / rollout.FILE).exists() else ()
        versions = " ".join(f"versions: {number}" for number in loaded)
        policy = f" model_version_policy {{ specific {{ {versions} }} }}" if versions else ""
        entries.append(f'  config {{ name: "{name}" base_path: "{path}" model_platform: "tensorflow"{policy} }}\n')
    return "model_config_list {\n" + "".join(entries) + "}\n"


def make_services(options: ServeOptions, config: Path, names: Sequence[str]) -> list[Service]:
    client = Client(options.url)
    socket_path = launch.make_private_folder(options.home) / SERVING_SOCKET
    environment = {
        "MODELYARD_HOME": str(options.home.parent),
        "MODELYARD_HOST": LOOPBACK,
        "MODELYARD_PORT": str(options.port),
        "MODELYARD_SERVING": f"unix:{socket_path}",
        "MODELYARD_STORE": str(options.models_dir or options.home / "no-store"),
        "MODELYARD_EXTERNAL_MODELS": ",".join(names),
        "MODELYARD_BATCH_EXTERNAL_MODELS": options.batch,
    }
    return [
        launch.make_model_server(client, options.serving_port, config, socket_path),
        launch.make_gateway(client, environment),
    ]


def wait_until_loaded(client: Client, names: Sequence[str]) -> dict[str, Versions]:
    """Waits until every model is loaded or has failed. Returns the states of their versions."""
    deadline = time.monotonic() + START_DEADLINE_S
    return {name: wait_for_model(client, name, deadline) for name in names}


def wait_for_model(client: Client, name: str, deadline: float) -> Versions:
    """Waits until no version of a model is loading, or until the deadline. Returns the states of its versions.

    Raises:
        TryLater: the model server, busy with loading, did not answer before the deadline.
    """
    while True:
        late = time.monotonic() > deadline
        try:
            found: Versions = client.get(f"/v1/models/{name}")["model_version_status"]
            if late or (found and all(entry["state"] in ("AVAILABLE", "END") for entry in found)):
                return found
        except TryLater:
            if late:
                raise
        time.sleep(POLL_INTERVAL_S)


def print_summary(options: ServeOptions, found: Mapping[str, Versions], took_s: float) -> None:
    """Prints the served models and their addresses."""
    output.console.print(f"\n[bold green]serving[/bold green] after {took_s:.0f} s\n")
    rows = [
        (name, describe_versions(versions), f"{options.url}/v1/models/{name}:predict")
        for name, versions in found.items()
    ]
    output.print_table("model", "versions", "url", rows=rows)
    first = next(iter(found))
    output.console.print(f"\nsignatures: curl {options.url}/v1/models/{first}/metadata", markup=False, soft_wrap=True)
    output.console.print(f"logs in {options.home}/log. Ctrl-C stops both processes.", markup=False)


def describe_versions(versions: Versions) -> str:
    """The available versions, or the error of one."""
    answering = ", ".join(entry["version"] for entry in versions if entry["state"] == "AVAILABLE")
    return answering or next((entry["status"]["error_message"] for entry in versions), "no version was found")
