"""The ``modelyard`` command."""

import sys
from collections.abc import Sequence
from typing import Annotated, ClassVar

import typer

from modelyard.models.errors import ModelyardError
from modelyard.services.cli.exit_codes import describe_error
from modelyard.services.cli.lazy import LazyGroup, finish

PIPE_COLUMNS = 1000
"""Of help in a pipe, where nobody's terminal is to be wide enough."""


class Commands(LazyGroup):
    """All commands, in the order of their help: ``module:name`` below ``modelyard.services.cli.commands``."""

    places: ClassVar = {
        "init": "local.init:init",
        "check": "local.check:check",
        "promote": "rollouts:promote",
        "rollback": "rollouts:rollback",
        "rollout": "rollouts:rollout",
        "move": "pools:move",
        "pools": "pools:pools",
        "audit": "audit:audit",
        "verify": "verify:verify",
        "gc": "gc:gc",
        "migrate": "local.migrate:migrate",
        "sync-models": "local.sync_models:sync_models",
        "tensorboard": "local.tensorboard:tensorboard",
        "import": "local.imports:import_model",
        "up": "start:up",
        "serve": "start:serve",
        "plan-batches": "start:plan_batches",
        "train": "training:train",
        "predict": "predict:predict",
        "models": "models:models",
        "versions": "models:versions",
        "card": "models:card",
        "doctor": "start:doctor",
        "jobs": "jobs:app",
        "searches": "searches:app",
        "triggers": "triggers:app",
        "keys": "keys:app",
    }


app = typer.Typer(cls=Commands, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)


def print_version(wanted: bool) -> None:
    """Prints the version of the installed package and ends."""
    if wanted:
        from importlib.metadata import version

        typer.echo(f"modelyard {version('modelyard')}")
        raise typer.Exit


@app.callback()
def options(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=print_version, is_eager=True)
    ] = False,
) -> None:
    """Train Keras models from a job queue, and serve them."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command, that of the process unless given; an expected failure is one line, and its exit code."""
    columns = {} if sys.stdout.isatty() else {"terminal_width": PIPE_COLUMNS}
    command = typer.main.get_command(app)
    finish(command, "")
    try:
        command(arguments, prog_name="modelyard", **columns)
    except ModelyardError as error:
        from modelyard.services.cli import output

        output.errors.print(f"error: {describe_error(error)}", style="red", markup=False)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
