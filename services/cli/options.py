"""Options that several commands take."""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from modelyard.models.sources.project_file import HOME, read_project
from modelyard.services.cli.up_lock import read_ports

DEFAULT_PORT = 8080
DEFAULT_URL = f"http://127.0.0.1:{DEFAULT_PORT}"


def read_setting(name: str, default: Any) -> Callable[[], Any]:
    """The default of an option: what the project's file says, else ``default``."""
    return lambda: read_project().get(name, default)


def find_url() -> str:
    """The default of ``--url``: where the system of this folder listens, or would."""
    project = read_project()
    ports = read_ports(Path(os.environ.get("MODELYARD_HOME") or project.get("home", HOME)))
    return f"http://127.0.0.1:{ports.gateway if ports else project.get('port', DEFAULT_PORT)}"


def read_folders() -> list[str]:
    """The default of ``--models``."""
    from modelyard.models.sources.project import ModelSettings

    return [str(folder) for folder in ModelSettings.load().models]


Home = Annotated[
    Path,
    typer.Option(
        envvar="MODELYARD_HOME",
        help="Folder of all files.",
        default_factory=read_setting("home", HOME),
        show_default=str(HOME),
    ),
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        envvar="MODELYARD_DATA_DIR",
        help="Folder of the datasets.",
        default_factory=read_setting("data_dir", None),
        show_default=False,
    ),
]
Models = Annotated[
    list[Path],
    typer.Option(
        envvar="MODELYARD_MODELS",
        help="Folder of model files; may be repeated.",
        default_factory=read_folders,
        show_default=False,
        exists=True,
        file_okay=False,
    ),
]
Port = Annotated[
    int,
    typer.Option(
        help="Port of the gateway.",
        min=1,
        max=65535,
        default_factory=read_setting("port", DEFAULT_PORT),
        show_default=str(DEFAULT_PORT),
    ),
]
Workers = Annotated[
    int,
    typer.Option(
        help="Maximum of training jobs at the same time; 0: one per processor, at most two.",
        min=0,
        max=64,
        default_factory=read_setting("concurrency", 0),
        show_default="0",
    ),
]
Url = Annotated[
    str,
    typer.Option(
        envvar="MODELYARD_URL",
        help="Address of the gateway.",
        default_factory=find_url,
        show_default=f"of this folder's `modelyard up`, else {DEFAULT_URL}",
    ),
]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        envvar="MODELYARD_KEY_FILE", help="File with the API key; without it, MODELYARD_API_KEY.", metavar="FILE"
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="Recipe value as key=value; may be repeated.")]


def name_author() -> str:
    """The author of what a command does by itself, for the audit trail."""
    return f"cli on {socket.gethostname()}"
