"""What forks run that have the gateway and the command line imported, but not Keras: see ``slim_programs``."""

import gc
import json
import os
import sys

import typer

from modelyard.models.errors import ModelyardError
from modelyard.services.cli import entry
from modelyard.services.cli.main import app
from modelyard.services.gateway import __main__ as gateway
from modelyard.services.gateway import lifecycle

assert lifecycle.create_app  # which the gateway's program imports once it has begun
list(typer.main.get_command(app).commands.values())  # whose modules a command imports once it has begun


def main(program: str, environment: str, folder: str, *arguments: str) -> None:
    """In this environment and folder."""
    os.environ.clear()
    os.environ.update(json.loads(environment))
    os.chdir(folder)
    PROGRAMS[program](*arguments)


def run_gateway() -> None:
    """``python -m modelyard.services.gateway``."""
    gc.disable()
    try:
        sys.exit(gateway.main())
    except ModelyardError as error:
        sys.exit(str(error))


def run_command(*arguments: str) -> None:
    """``modelyard ...``."""
    sys.argv = ["modelyard", *arguments]
    entry.main()


PROGRAMS = {"gateway": run_gateway, "command": run_command}
