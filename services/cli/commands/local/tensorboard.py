"""``modelyard tensorboard``: shows the event files of jobs in TensorBoard."""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from modelyard.models.errors import ModelyardError
from modelyard.models.imports import hide_module
from modelyard.services.cli.options import Home
from modelyard.services.cli.processes.launch import LOOPBACK, require_free_port

NEEDED = ("tensorboard", "pkg_resources")
"""Modules: TensorFlow brings the first, but not the second, which newer setuptools have no more."""


class TensorBoardMissing(ModelyardError):
    """TensorBoard is not installed."""


def tensorboard(
    *,
    port: Annotated[int, typer.Option(help="Port of TensorBoard, on loopback.", min=1, max=65535)] = 6006,
    home: Home,
    folder: Annotated[
        Path | None, typer.Option(envvar="MODELYARD_TENSORBOARD_DIR", help="Folder of event files, if not in --home.")
    ] = None,
) -> None:
    """Show loss, metrics and learning rate of every job in TensorBoard, until Ctrl-C."""
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise TensorBoardMissing(
            f"TensorBoard cannot run here, {' and '.join(missing)} is missing: pip install 'modelyard[tensorboard]'"
        )
    require_free_port(port, "--port")
    events = (folder or home / "tensorboard").resolve()
    sys.argv = ["tensorboard", "--logdir", str(events), "--host", LOOPBACK, "--port", str(port)]
    with hide_module("tensorflow"):  # scalars need none of it: 600 MB
        from tensorboard.main import run_main

        run_main()
