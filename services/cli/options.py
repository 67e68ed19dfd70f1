"""Options that several commands take."""

from typing import Annotated

import typer

DEFAULT_URL = "http://127.0.0.1:8080"
Url = Annotated[str, typer.Option(envvar="MODELYARD_URL", help="Address of the gateway.")]
