"""``modelyard tensorboard``: shows the event files of jobs in TensorBoard."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from modelyard.models.errors import ModelyardError
from modelyard.services.cli.processes.launch import LOOPBACK, require_free_port
from modelyard.services.settings import HOME


class TensorBoardMissing(ModelyardError):
    """TensorBoard is not installed."""


def tensorboard(
    *,
    port: Annotated[int, typer.Option(help="Port of TensorBoard, on loopback.", min=1, max=65535)] = 6006,
    home: Annotated[Path, typer.Option(envvar="MODELYARD_HOME", help="Folder of all files.")] = HOME,
    folder: Annotated[
        Path | None, typer.Option(envvar="MODELYARD_TENSORBOARD_DIR", help="Folder of event files, if not in --home.")
    ] = None,
) -> None:
    """Show loss, metrics and learning rate of every job in TensorBoard, until Ctrl-C."""
    if find_spec("tensorboard") is None:
        raise TensorBoardMissing("TensorBoard is not installed: pip install 'modelyard[tensorboard]'")
    require_free_port(port)
    events = (folder or home / "tensorboard").resolve()
    command = [sys.executable, "-P", "-m", "tensorboard.main", "--logdir", str(events), "--host", LOOPBACK]
    os.execv(sys.executable, [*command, "--port", str(port)])  # noqa: S606  # it is what this process becomes
