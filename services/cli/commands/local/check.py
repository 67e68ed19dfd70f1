"""``modelyard check``: whether a model is fit to be trained, in seconds."""

import os
import subprocess
import sys
from typing import Annotated

import typer

from modelyard.pipeline.job_options import DataPolicy
from modelyard.services.cli.options import AsJson
from modelyard.services.cli.output import print_json


def check(
    model: Annotated[str, typer.Argument(help="Model to check.")],
    recipe: Annotated[str, typer.Option(help="Recipe to check it with.")] = "quick",
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="Recipe value as key=value; may be repeated.")
    ] = None,
    data: Annotated[DataPolicy, typer.Option(help="auto: the real data, else the shipped sample.")] = "auto",
    *,
    as_json: AsJson = False,
) -> None:
    """Check a model's file and data, and send one batch through build, loss, export and reload; trains nothing."""
    values = [part for pair in overrides or () for part in ("--set", pair)]
    command = [sys.executable, "-P", "-m", "modelyard.pipeline", model, "--check", "--recipe", recipe, "--data", data]
    quiet = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    if not as_json:
        raise typer.Exit(subprocess.run([*command, *values], check=False, env=quiet).returncode)
    done = subprocess.run([*command, *values], check=False, env=quiet, stdout=subprocess.PIPE, text=True)
    print_json({"model": model, "ready": done.returncode == 0, "output": done.stdout})
    raise typer.Exit(done.returncode)
