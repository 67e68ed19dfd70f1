"""Options that several commands take."""

import socket
from typing import Annotated

import typer

DEFAULT_PORT = 8080
DEFAULT_URL = f"http://127.0.0.1:{DEFAULT_PORT}"
Url = Annotated[str, typer.Option(envvar="MODELYARD_URL", help="Address of the gateway.")]


def name_author() -> str:
    """The author of what a command does by itself, for the audit trail."""
    return f"cli on {socket.gethostname()}"
