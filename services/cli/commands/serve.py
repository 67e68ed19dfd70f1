"""``modelyard serve``: a model server and a gateway over SavedModels that somebody else made. No queue, no training."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.models.errors import ModelyardError
from modelyard.models.registry import rollout
from modelyard.models.registry.rollout import read_rollout, render_config
from modelyard.models.registry.store import NAME, Store
from modelyard.services.cli import output as show
from modelyard.services.cli.client import Client, TryLater
from modelyard.services.cli.processes import launch as ground
from modelyard.services.cli.processes.launch import LOOPBACK, SERVING_SOCKET, START_DEADLINE_S
from modelyard.services.cli.processes.supervisor import Service

CONFIG = "models.config"
POLL_S = 0.2
Versions = Sequence[Mapping[str, Any]]
"""TensorFlow Serving's ``model_version_status``."""


class NothingToServe(ModelyardError):
    """The folder or the configuration names no model."""

    exit_code = 2


@dataclass(frozen=True)
class Serve:
    """What is served, and where."""

    home: Path
    """For logs, and for the configuration that is written for ``models_dir``."""
    port: int
    serving_port: int
    models_dir: Path | None = None
    model_config: Path | None = None
    batch: str = "checked"
    """Whether requests share runs of the model: checked, always or never."""

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"


def serve(asked: Serve) -> None:
    """Starts both processes and runs until Ctrl-C or SIGTERM.

    Raises:
        ModelyardError: the cause and the way out; everything started is stopped again.
    """
    started = time.monotonic()
    config, names = configuration(asked)
    for port in (asked.port, asked.serving_port):
        ground.require_free(port)
    supervisor = ground.supervisor_of(asked.home)
    with ground.until_stopped(supervisor):
        services = processes(asked, config, names)
        with show.console.status("loading"):
            ground.start(supervisor, services)
            client = Client(asked.url)
            found = wait_loaded(client, names)
        announce(asked, found, time.monotonic() - started)


def configuration(asked: Serve) -> tuple[Path, tuple[str, ...]]:
    """The model server's configuration file, and the models in it.

    Raises:
        NothingToServe: says what was looked for.
    """
    if asked.model_config:
        return asked.model_config, read_model_names(asked.model_config)
    assert asked.models_dir
    found = models_in(asked.models_dir)
    if not found:
        raise NothingToServe(
            f"{asked.models_dir} holds no model: expected {asked.models_dir}/NAME/1/saved_model.pb, or "
            f"{asked.models_dir}/1/saved_model.pb for a lone model"
        )
    if is_live(asked.models_dir, found):
        return asked.models_dir / rollout.CONFIG, tuple(found)
    asked.home.mkdir(parents=True, exist_ok=True)
    config = asked.home / CONFIG
    config.write_text(rendered(asked.models_dir, found))
    return config, tuple(found)


def read_model_names(path: Path) -> tuple[str, ...]:
    """Names of the models in a text-format ``ModelServerConfig``.

    Raises:
        NothingToServe: the file cannot be read or parsed, or names no model; says where and why.
    """
    from google.protobuf import text_format  # with the messages 20 MB, which a folder of models does without

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


def models_in(folder: Path) -> dict[str, Path]:
    """Base path by name: every folder with a numbered SavedModel in it; the folder itself if it is one."""
    if has_versions(folder):
        return {folder.name: folder}
    return {path.name: path for path in sorted(folder.glob("*/")) if has_versions(path)}


def is_live(models_dir: Path, found: Iterable[str]) -> bool:
    """Whether the folder is a store of ours with a rollout of each model: then its own configuration is followed."""
    config, store = models_dir / rollout.CONFIG, Store(models_dir)
    ours = all(NAME.fullmatch(name) and read_rollout(store, name).loaded for name in found)
    return ours and config.exists() and config.read_text() == render_config(store)


def has_versions(folder: Path) -> bool:
    return any(path.parent.name.isdecimal() for path in folder.glob("*/saved_model.pb"))


def rendered(models_dir: Path, found: dict[str, Path]) -> str:
    """The newest version of each model, or those that a rollout of ours names."""
    entries = []
    for name, path in found.items():
        loaded = read_rollout(Store(models_dir), name).loaded if (path / rollout.FILE).exists() else ()
        versions = " ".join(f"versions: {number}" for number in loaded)
        policy = f" model_version_policy {{ specific {{ {versions} }} }}" if versions else ""
        entries.append(f'  config {{ name: "{name}" base_path: "{path}" model_platform: "tensorflow"{policy} }}\n')
    return "model_config_list {\n" + "".join(entries) + "}\n"


def processes(asked: Serve, config: Path, names: Sequence[str]) -> list[Service]:
    client = Client(asked.url)
    socket_path = ground.private_folder(asked.home) / SERVING_SOCKET
    environment = {
        "MODELYARD_HOST": LOOPBACK,
        "MODELYARD_PORT": str(asked.port),
        "MODELYARD_SERVING": f"unix:{socket_path}",
        "MODELYARD_STORE": str(asked.models_dir or asked.home / "no-store"),
        "MODELYARD_EXTERNAL_MODELS": ",".join(names),
        "MODELYARD_BATCH_EXTERNAL_MODELS": asked.batch,
    }
    return [
        ground.model_server(client, asked.serving_port, config, socket_path),
        ground.gateway(client, environment),
    ]


def wait_loaded(client: Client, names: Sequence[str]) -> dict[str, Versions]:
    """Returns when every model is loaded or has failed to; what the model server says of their versions."""
    deadline = time.monotonic() + START_DEADLINE_S
    return {name: settled(client, name, deadline) for name in names}


def settled(client: Client, name: str, deadline: float) -> Versions:
    """A model's versions as soon as none is being loaded any more, or as they are when the time is up.

    Raises:
        TryLater: until then the model server, which has much to do while it loads, did not say.
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
        time.sleep(POLL_S)


def announce(asked: Serve, found: Mapping[str, Versions], took_s: float) -> None:
    """What answers where."""
    show.console.print(f"\n[bold green]serving[/bold green] after {took_s:.0f} s\n")
    rows = [(name, ready(versions), f"{asked.url}/v1/models/{name}:predict") for name, versions in found.items()]
    show.table("model", "versions", "url", rows=rows)
    first = next(iter(found))
    show.console.print(f"\nsignatures: curl {asked.url}/v1/models/{first}/metadata", markup=False, soft_wrap=True)
    show.console.print(f"logs in {asked.home}/log. Ctrl-C stops both processes.", markup=False)


def ready(versions: Versions) -> str:
    """The versions that answer, or why none does."""
    answering = ", ".join(entry["version"] for entry in versions if entry["state"] == "AVAILABLE")
    return answering or next((entry["status"]["error_message"] for entry in versions), "no version was found")
